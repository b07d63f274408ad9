// Keeping what was made: the dialog that saves it, for a panorama also how wide and from where, and the download.
(() => {
  const PixelLift = window.PixelLift;
  const editor = PixelLift.editor;
  if (!editor) return;
  const dialog = document.getElementById("save-dialog");
  const form = dialog.querySelector("form");
  const { config, preview } = editor;
  const field = (name) => form.elements[name];

  // --- How much of a panorama ---

  let panorama = null; // {max_px, height_px} of the generator
  preview.addEventListener("ready", ({ detail }) => {
    panorama = detail.panorama;
    if (panorama) fit();
  });
  const left = () => (field("from").value === "here" ? editor.window().left : 0);
  const unit = () => (field("unit").value === "pictures" ? config.width : 1);
  const width = () => Math.round(Number(field("width").value) * unit());
  /** Bounds in the chosen unit, and the size in words. */
  const fit = () => {
    const most = panorama.max_px - left();
    field("width").min = unit() === 1 ? Math.min(config.width, most) : Math.min(1, most / config.width);
    field("width").max = Math.floor((most / unit()) * 100) / 100;
    field("width").step = unit() === 1 ? 1 : "any";
    const fits = field("width").value !== "" && field("width").validity.valid;
    form.querySelector("[data-size]").textContent = fits
      ? `${width().toLocaleString("en")} × ${panorama.height_px.toLocaleString("en")} pixels`
      : `From there, at most ${most.toLocaleString("en")} pixels`;
  };
  if (config.scrolls) {
    for (const name of ["from", "width"]) form.addEventListener("input", ({ target }) => target.name === name && panorama && fit());
    field("unit").addEventListener("change", () => {
      const pixels = Number(field("width").value) * (unit() === 1 ? config.width : 1);
      field("width").value = Math.round((pixels / unit()) * 100) / 100;
      fit();
    });
  }
  const open = () => {
    if (panorama) fit();
    dialog.showModal();
    field("name").select();
  };

  // --- Sending it ---

  const recipe = () => {
    const made = editor.request();
    if (panorama) made.panorama = { left: left(), width: width() };
    return made;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    const error = form.querySelector("[data-save-error]");
    error.hidden = true;
    button.disabled = true;
    const { ok, status, data } = await PixelLift.post(form.action, {
      once: field("once").value,
      name: field("name").value,
      recipe: JSON.stringify(recipe()),
    });
    button.disabled = false;
    if (ok) {
      field("once").value = crypto.getRandomValues(new Uint32Array(4)).join("-"); // the next one is another wish
      dialog.close();
      PixelLift.toast(data.text);
    } else {
      error.textContent = data.detail || PixelLift.failure(status);
      error.hidden = false;
    }
  });

  // --- Download ---

  document.querySelector("[data-export]")?.addEventListener("click", () => {
    if (!preview.export(editor.request())) editor.say("The picture cannot be downloaded while the connection is lost. It comes back by itself.", "error");
  });
  preview.addEventListener("export", ({ detail }) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([detail.blob], { type: "image/png" }));
    link.download = `${config.name.replace(/[^\p{L}\p{N} ._-]+/gu, "").trim() || "picture"}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });

  editor.openSave = open;
})();
