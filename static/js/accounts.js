// Sign-up, sign-in and profile: show a password while it is typed, and copy a new API token.
(() => {
  const addEye = (input) => {
    const wrap = document.createElement("div");
    wrap.className = "password";
    input.replaceWith(wrap);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "password__eye";
    button.textContent = "Show";
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-label", "Show password");
    button.addEventListener("click", () => {
      const shown = input.type === "text";
      input.type = shown ? "password" : "text";
      button.textContent = shown ? "Show" : "Hide";
      button.setAttribute("aria-pressed", String(!shown));
      input.focus();
    });
    input.form?.addEventListener("submit", () => {
      input.type = "password"; // browsers offer to keep it only then
    });
    wrap.append(input, button);
  };
  for (const input of document.querySelectorAll("input[data-password]")) addEye(input);

  const select = (element) => getSelection().selectAllChildren(element);

  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!button) return;
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      select(source); // no clipboard without HTTPS: the member copies it by hand
      window.PixelLift.toast("It is selected: copy it with Ctrl+C.");
    }
  });
})();
