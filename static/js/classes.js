// Classes of generators: only the chosen generator's field is shown, and a field with a long list is easy to search.
(() => {
  /** In each form, show the class field of the generator that is chosen. */
  const show = (form) => {
    const chosen = form.elements.generator?.value;
    for (const field of form.querySelectorAll("[data-class-of]")) field.hidden = field.dataset.classOf !== chosen;
  };
  const showAll = () => {
    for (const form of document.querySelectorAll("form:has([data-class-of])")) show(form);
  };
  document.addEventListener("change", (event) => {
    if (event.target.name === "generator" && event.target.form) show(event.target.form);
  });
  document.addEventListener("htmx:afterSwap", showAll);
  showAll();

  // A list offers only what contains the words in its field: so while somebody looks for something else, the field is
  // empty, and what it said stands in the background. Left empty, it says the same again.
  document.addEventListener("focusin", ({ target }) => {
    if (!target.matches?.("[data-find]") || !target.value) return;
    target.dataset.before = target.value;
    target.placeholder = target.value;
    target.value = "";
  });
  document.addEventListener("focusout", ({ target }) => {
    if (!target.matches?.("[data-find]") || !target.dataset.before) return;
    target.value ||= target.dataset.before;
    delete target.dataset.before;
  });
  // Enter sends a form without leaving the field first.
  document.addEventListener(
    "submit",
    ({ target }) => {
      for (const field of target.querySelectorAll("[data-find]")) field.value ||= field.dataset.before || "";
    },
    { capture: true },
  );
})();
