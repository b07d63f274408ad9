// The slider on the first page: frames that lie side by side in one picture, shown one at a time.
(() => {
  const root = document.querySelector("[data-strip]");
  if (!root) return;
  const range = root.querySelector("input[type=range]");
  const canvas = root.querySelector("canvas");
  const output = root.querySelector("output");
  const title = root.querySelector("[data-strip-name]");
  const tabs = [...root.querySelectorAll("[data-sprite]")];
  const reach = Number(root.dataset.reach);
  const SWEEP_MS = 3600;
  const sprites = new Map();
  let current = null;
  let touched = false;

  const load = (tab) => {
    const url = tab.dataset.sprite;
    if (!sprites.has(url)) {
      const image = new Image();
      image.src = url;
      sprites.set(url, image.decode().then(() => image));
    }
    return sprites.get(url);
  };

  const draw = () => {
    const value = Number(range.value);
    const share = (value / reach + 1) / 2;
    range.style.setProperty("--from", `${Math.min(share, 0.5) * 100}%`);
    range.style.setProperty("--to", `${Math.max(share, 0.5) * 100}%`);
    output.value = `${value > 0 ? "+" : ""}${value.toFixed(1)} σ`.replace("-", "−");
    range.setAttribute("aria-valuetext", `${value.toFixed(1)} sigma`);
    if (!current) return;
    const side = current.naturalHeight;
    const count = Math.round(current.naturalWidth / side);
    const index = Math.round(share * (count - 1));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    canvas.getContext("2d").drawImage(current, index * side, 0, side, side, 0, 0, side, side);
    canvas.hidden = false;
  };

  const choose = async (tab) => {
    for (const other of tabs) other.setAttribute("aria-pressed", String(other === tab));
    title.textContent = tab.textContent.trim();
    try {
      current = await load(tab);
    } catch {
      return; // Without the strip the picture stays as it is.
    }
    draw();
  };

  const touch = () => {
    touched = true;
  };
  range.addEventListener("pointerdown", touch);
  range.addEventListener("keydown", touch);
  range.addEventListener("input", draw);
  for (const tab of tabs) {
    tab.addEventListener("click", () => {
      touch();
      choose(tab);
    });
  }

  /** Move once by itself, so that one sees what the slider does. */
  const sweep = () => {
    const begun = performance.now();
    const step = (now) => {
      const time = (now - begun) / SWEEP_MS;
      if (touched) return;
      range.value = time >= 1 ? 0 : Math.sin(time * 2 * Math.PI) * reach * 0.8;
      draw();
      if (time < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  };

  choose(tabs[0]).then(() => {
    if (current && !window.PixelLift.reducedMotion()) setTimeout(sweep, 700);
  });
})();
