// The square over an uploaded picture: moved by dragging or arrow keys, resized at its corners or with + and -.
// The numbers in the form are the truth, so that the form also works alone.
(() => {
  const cropper = document.querySelector("[data-cropper]");
  if (!cropper) return;
  const box = cropper.querySelector("[data-cropper-box]");
  const form = document.querySelector("[data-crop-form]");
  const inputs = { x: form.elements.x, y: form.elements.y, size: form.elements.size };
  const width = Number(cropper.dataset.width);
  const height = Number(cropper.dataset.height);
  const smallest = Math.min(Number(cropper.dataset.smallest) || 32, width, height);
  const largest = Math.min(width, height);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  const square = () => ({ x: Number(inputs.x.value) || 0, y: Number(inputs.y.value) || 0, size: Number(inputs.size.value) || largest });

  const set = ({ x, y, size }) => {
    const side = Math.round(clamp(size, smallest, largest));
    inputs.size.value = side;
    inputs.x.value = Math.round(clamp(x, 0, width - side));
    inputs.y.value = Math.round(clamp(y, 0, height - side));
    draw();
  };

  const draw = () => {
    const { x, y, size } = square();
    box.style.insetInlineStart = `${(100 * x) / width}%`;
    box.style.insetBlockStart = `${(100 * y) / height}%`;
    box.style.inlineSize = `${(100 * size) / width}%`;
    box.setAttribute("aria-valuetext", `${size} pixels wide, ${x} from the left, ${y} from the top`);
  };

  // --- Pointer: the box moves; a corner resizes around the opposite one ---

  let drag = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, y: event.clientY, corner: event.target.dataset.corner || null, from: square() };
  });
  box.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const scale = width / cropper.getBoundingClientRect().width;
    const dx = (event.clientX - drag.x) * scale;
    const dy = (event.clientY - drag.y) * scale;
    if (drag.corner) resize(drag.corner, drag.from, dx, dy);
    else set({ ...drag.from, x: drag.from.x + dx, y: drag.from.y + dy });
  });
  const drop = () => {
    drag = null;
  };
  box.addEventListener("pointerup", drop);
  box.addEventListener("pointercancel", drop);

  const resize = (corner, from, dx, dy) => {
    const west = corner.endsWith("w");
    const north = corner.startsWith("n");
    const right = from.x + from.size;
    const bottom = from.y + from.size;
    const room = Math.min(west ? right : width - from.x, north ? bottom : height - from.y);
    const wish = from.size + ((west ? -dx : dx) + (north ? -dy : dy)) / 2;
    const size = Math.round(clamp(wish, smallest, room));
    set({ x: west ? right - size : from.x, y: north ? bottom - size : from.y, size });
  };

  // --- Keys ---

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  box.addEventListener("keydown", (event) => {
    const from = square();
    const stride = Math.max(1, Math.round(largest * (event.shiftKey ? 0.1 : 0.02)));
    if (ARROWS[event.key]) {
      const [dx, dy] = ARROWS[event.key];
      set({ ...from, x: from.x + dx * stride, y: from.y + dy * stride });
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      grow(from, event.key === "-" ? -stride : stride);
    } else {
      return;
    }
    event.preventDefault();
  });
  /** Keep the middle where it is. */
  const grow = (from, by) => {
    const size = clamp(from.size + by, smallest, largest);
    set({ x: from.x - (size - from.size) / 2, y: from.y - (size - from.size) / 2, size });
  };

  // --- What the chosen generator cuts off its squares ---

  const note = document.querySelector("[data-band-note]");
  const showBands = () => {
    const chosen = form.querySelector("[name=generator]:checked");
    const side = Number(chosen?.dataset.resolution) || 1;
    const [left, top, right, bottom] = (chosen?.dataset.crop || `0,0,${side},${side}`).split(",").map(Number);
    const bands = { left, top, right: side - right, bottom: side - bottom };
    for (const band of box.querySelectorAll("[data-band]")) {
      const name = band.dataset.band;
      band.style.setProperty("--share", `${(100 * bands[name]) / side}%`);
      band.hidden = !bands[name];
    }
    note.hidden = !Object.values(bands).some(Boolean);
    note.textContent = note.hidden ? "" : `${chosen.dataset.label} draws ${right - left} × ${bottom - top} pixels: what lies under the shaded bands is left out.`;
  };
  form.addEventListener("change", (event) => event.target.name === "generator" && showBands());
  showBands();

  // --- Grades: drafts are made by an encoder, which not every generator has, and in no steps ---

  const draft = form.querySelector("[name=grade][value=draft]");
  const showGrades = () => {
    const able = "encoder" in (form.querySelector("[name=generator]:checked")?.dataset ?? {});
    draft.closest("label").hidden = !able;
    if (draft.checked && !able) form.querySelector("[name=grade][value=refined]").checked = true;
    form.querySelector("[data-steps-field]").hidden = draft.checked;
  };
  form.addEventListener("change", showGrades);
  showGrades();

  for (const input of Object.values(inputs)) input.addEventListener("change", () => set(square()));
  for (const button of document.querySelectorAll("[data-crop-step]")) {
    button.addEventListener("click", () => grow(square(), Math.round(largest * 0.1 * Number(button.dataset.cropStep))));
  }
  box.hidden = false;
  set(square());
})();
