// While a picture is drawn or found in the model: the bar, the words and the picture as it converges.
(() => {
  const PixelLift = window.PixelLift;
  const root = document.querySelector("[data-projecting]");
  if (!root) return;
  const bar = root.querySelector("progress");
  const stage = root.querySelector("[data-stage]");
  const picture = root.querySelector("[data-converging]");
  const keep = root.querySelector("[data-keep]");
  const image = root.dataset.projecting;
  const SETTLED_MS = 3000;
  let next = null; // the preview to fetch when the present one has arrived

  const target = root.querySelector("[data-target]");
  const source = root.querySelector("[data-target-source]");
  if (target && source) {
    const draw = () => {
      const crop = JSON.parse(document.getElementById("crop-data").textContent);
      // What the generator keeps of the square: left, top, right and bottom, as parts of its side.
      const [left, top, right, bottom] = JSON.parse(document.getElementById("frame-data").textContent) || [0, 0, 1, 1];
      const size = crop ? crop.size : Math.min(source.naturalWidth, source.naturalHeight);
      const [width, height] = [size * (right - left), size * (bottom - top)];
      const scale = Math.min(1, 768 / Math.max(width, height));
      target.width = Math.round(width * scale);
      target.height = Math.round(height * scale);
      target.getContext("2d").drawImage(source, (crop?.x || 0) + left * size, (crop?.y || 0) + top * size, width, height, 0, 0, target.width, target.height);
      target.hidden = false;
      source.hidden = true;
    };
    if (source.complete && source.naturalWidth) draw();
    else source.addEventListener("load", draw);
  }

  const show = (url) => {
    if (!picture) return;
    const busy = next !== null;
    next = url;
    if (!busy) fetchNext();
  };
  const fetchNext = () => {
    const url = next;
    const loading = new Image();
    const done = () => {
      if (next === url) next = null;
      else fetchNext();
    };
    loading.onload = () => {
      picture.src = url;
      picture.hidden = false;
      root.querySelector("[data-nothing-yet]")?.remove();
      done();
    };
    loading.onerror = done;
    loading.src = url;
  };

  document.addEventListener("job", ({ detail: job }) => {
    const mine = job.image === image || job.images.includes(image);
    if (!mine || !["project", "random"].includes(job.operation)) return;
    if (job.state === "queued" || job.state === "running") {
      if (job.state === "running") bar.value = job.progress;
      stage.textContent = PixelLift.stageOf(job);
      if (keep) keep.disabled = !job.can_keep;
      if (job.has_preview && job.operation === "project") show(`${job.preview_url}?${job.sequence}`);
      if (job.ready.includes(image)) location.reload();
    } else if (root.dataset.job === job.id || performance.now() > SETTLED_MS) {
      location.reload(); // (An older job's end may be in the first snapshot: it says nothing about this one.)
    }
  });
})();
