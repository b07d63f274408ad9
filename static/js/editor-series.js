// The strip: one slider at several strengths, side by side. A click on a frame takes it.
(() => {
  const editor = window.PixelLift.editor;
  if (!editor) return;
  const panel = document.querySelector("[data-series]");
  const strip = panel.querySelector("[data-series-strip]");
  const title = panel.querySelector("[data-series-name]");
  const note = panel.querySelector("[data-series-note]");
  const inputs = { from: panel.querySelector("[name=from]"), to: panel.querySelector("[name=to]"), steps: panel.querySelector("[name=steps]") };
  const LATE_MS = 30_000;
  const WAIT_MS = 350;
  let asked = null; // {seq, row, strengths}
  let late = 0;
  let timer = 0;

  const numbers = () => ({ from: Number(inputs.from.value), to: Number(inputs.to.value), steps: Math.round(Number(inputs.steps.value)) });
  const strengthsOf = ({ from, to, steps }) => Array.from({ length: steps }, (_, index) => (steps === 1 ? from : from + ((to - from) * index) / (steps - 1)));

  const start = () => {
    const row = editor.active();
    if (!row) return;
    panel.open = true;
    if (Object.values(inputs).some((input) => !input.reportValidity())) return;
    const { from, to, steps } = numbers();
    const { basis, component, start: first, end } = row;
    const seq = editor.preview.series({ ...editor.request(), basis, component, start: first, end, from, to, steps });
    if (!seq) return tell("The series cannot be drawn while the connection is lost. Try again in a moment.");
    asked = { seq, row, strengths: strengthsOf({ from, to, steps }), label: editor.label(row) };
    build();
    tell("");
    clearTimeout(late);
    late = setTimeout(() => tell("The series did not come. Draw it again."), LATE_MS);
  };

  const build = () => {
    const label = asked.label;
    title.textContent = label;
    strip.replaceChildren(
      ...asked.strengths.map((strength) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "series__frame";
        const value = Math.round(strength * 100) / 100;
        button.setAttribute("aria-label", `Take ${label} at ${value} sigma`);
        const picture = document.createElement("canvas");
        const words = document.createElement("span");
        words.className = "numeric";
        words.textContent = `${value > 0 ? "+" : ""}${value}`.replace("-", "−");
        button.append(picture, words);
        const { row } = asked;
        button.addEventListener("click", () => {
          editor.take(row, value);
          mark();
        });
        button.dataset.strength = value;
        return button;
      }),
    );
    mark();
  };

  /** Which frame is what the slider says now. */
  const mark = () => {
    if (!asked) return;
    for (const button of strip.children) button.setAttribute("aria-pressed", String(Number(button.dataset.strength) === asked.row.strength));
  };

  editor.preview.addEventListener("series", async ({ detail }) => {
    if (!asked || detail.seq !== asked.seq) return;
    const button = strip.children[detail.index];
    if (!button) return;
    const bitmap = await createImageBitmap(detail.blob);
    const picture = button.querySelector("canvas");
    picture.width = bitmap.width;
    picture.height = bitmap.height;
    picture.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    button.dataset.drawn = "yes";
    if (detail.index === detail.total - 1) clearTimeout(late);
  });

  const tell = (text) => {
    note.textContent = text;
    note.hidden = !text;
  };

  panel.querySelector("[data-series-draw]").addEventListener("click", start);
  panel.addEventListener("toggle", () => {
    if (panel.open && !strip.childElementCount) start();
  });
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(() => panel.open && start(), WAIT_MS);
  };
  for (const input of Object.values(inputs)) input.addEventListener("input", () => input.validity.valid && again());
  document.addEventListener("editor-active", () => {
    const row = editor.active();
    if (row && !asked) title.textContent = editor.label(row);
  });
  document.addEventListener("editor-changed", mark);
  editor.startSeries = () => {
    start();
    panel.scrollIntoView({ block: "nearest", behavior: window.PixelLift.reducedMotion() ? "auto" : "smooth" });
  };
})();
