// The picture that the sliders make, on a canvas of the picture's own size. A draft may be smaller: it is scaled up, and the
// exact picture takes its place without a jump. While it is held, the untouched picture is shown.
(() => {
  const PixelLift = window.PixelLift;

  /** The part of a chosen square that the generator keeps, as a rectangle of the original: {x, y, width, height}. */
  const framed = (crop, frame) => {
    const [left, top, right, bottom] = frame || [0, 0, 1, 1];
    return { x: crop.x + left * crop.size, y: crop.y + top * crop.size, width: (right - left) * crop.size, height: (bottom - top) * crop.size };
  };

  /** The uploaded photo's chosen square, or the generated picture as it was stored. */
  const drawOriginal = (original, config, onto) => {
    if (!original.complete || !original.naturalWidth) return;
    const whole = { x: 0, y: 0, width: original.naturalWidth, height: original.naturalHeight };
    const { x, y, width, height } = config.crop ? framed(config.crop, config.frame) : whole;
    onto.getContext("2d").drawImage(original, x, y, width, height, 0, 0, onto.width, onto.height);
  };

  /** Show the member's own photo beside what was made of it. */
  PixelLift.editorPhoto = (root, config) => {
    const original = root.querySelector("[data-original]");
    const photo = root.querySelector("[data-photo]");
    if (!photo) return;
    photo.height = Math.round((photo.width * config.height) / config.width);
    photo.style.setProperty("--ratio", config.width / config.height);
    const draw = () => drawOriginal(original, config, photo);
    if (original.complete) draw();
    original.addEventListener("load", draw);
  };

  /** `wishes`: request() and untouched(), what is drawn now and what comparing shows; see editor.js. */
  PixelLift.editorStage = (root, config, preview, wishes) => {
    const canvas = root.querySelector("[data-canvas]");
    const original = root.querySelector("[data-original]");
    const isUntouched = new Map(); // seq: whether it asked for the untouched picture
    let current = null; // {bitmap, exact}
    let before = null;
    let comparing = false;

    const size = (width, height) => {
      canvas.style.setProperty("--ratio", width / height);
      if (canvas.width === width && canvas.height === height) return;
      canvas.width = width;
      canvas.height = height;
    };
    size(config.width, config.height);

    const paint = (shown) => {
      if (!shown) return;
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(shown.bitmap, 0, 0, canvas.width, canvas.height);
    };
    const keyOf = (wish) => JSON.stringify(wish);
    preview.addEventListener("asked", ({ detail: { seq, message } }) => {
      const { type, exact, ...wish } = message;
      for (const old of isUntouched.keys()) if (old < seq - 20) isUntouched.delete(old);
      isUntouched.set(seq, keyOf(wish) === keyOf(wishes.untouched()));
    });
    preview.addEventListener("frame", ({ detail: { seq, exact, bitmap } }) => {
      const shown = { bitmap, exact };
      const old = new Set([before, current]);
      if (isUntouched.get(seq) && (exact || !before?.exact)) before = shown;
      const onlyBefore = isUntouched.get(seq) && keyOf(wishes.request()) !== keyOf(wishes.untouched());
      if (!onlyBefore) current = shown;
      for (const gone of old) if (gone && gone !== before && gone !== current) gone.bitmap.close();
      paint(comparing ? before : current);
      canvas.dataset.seq = seq;
    });

    return {
      ready: ({ width, height }) => size(width, height),
      compare(on) {
        comparing = on;
        if (!on) paint(current);
        else if (before) paint(before);
        else if (config.source === "random") drawOriginal(original, config, canvas); // as it was stored, until it is drawn
        if (before?.exact) return;
        if (on) preview.render(wishes.untouched());
        else preview.render(wishes.request());
      },
      handles: [canvas],
    };
  };
})();
