// The before/after slider: a range for keyboards and screen readers, the whole picture for pointers.
const setUp = (figure) => {
  if (figure.dataset.compareReady) return;
  figure.dataset.compareReady = "";
  const frame = figure.querySelector(".compare__frame");
  const range = figure.querySelector("input[type=range]");
  const show = () => {
    frame.style.setProperty("--split", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} percent`);
  };
  const follow = (event) => {
    const box = frame.getBoundingClientRect();
    range.value = Math.round(((event.clientX - box.left) / box.width) * 100);
    show();
  };
  range.addEventListener("input", show);
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // the range would jump by its own idea of where the thumb is
    range.focus({ preventScroll: true });
    frame.setPointerCapture(event.pointerId);
    follow(event);
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) follow(event);
  });
  show();
};
const setUpAll = () => document.querySelectorAll("[data-compare]").forEach(setUp);
setUpAll();
document.addEventListener("htmx:afterSettle", setUpAll);
