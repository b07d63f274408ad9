// The editor: sliders in sigma along principal components, drawn live by PixelLift.Preview.
// What the member did is a list of rows {component, start, end, strength}; everything else follows from it.
(() => {
  const root = document.querySelector("[data-editor]");
  if (!root) return;
  const PixelLift = window.PixelLift;
  const one = (selector) => root.querySelector(selector);
  const config = JSON.parse(document.getElementById("editor-config").textContent);
  const savedRecipe = JSON.parse(document.getElementById("editor-recipe")?.textContent || "null");

  const REACH_SIGMA = 5;
  const LIMIT_SIGMA = 10;
  const SNAP_SIGMA = 0.12;
  const FIRST_ROWS = 10;
  const HISTORY = 200;
  const COMMIT_MS = 600;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  const preview = new PixelLift.Preview(`/ws/transform/${config.image}/`);
  const canvas = one("[data-canvas]");
  const list = one("[data-sliders]");
  const template = document.getElementById("slider-row");
  const rangeSelectTemplate = document.getElementById("range-options");

  let components = [];
  let ranges = {};
  let layers = 1;
  let rows = [];
  let shown = FIRST_ROWS;
  let active = null;
  let settings = { psi: null, noise: "const" };
  let built = false;

  // --- State: what a reload, undo and a recipe bring back ---

  const isWhole = (row) => row.start === 0 && row.end === layers;
  const edits = () =>
    rows.filter((row) => row.strength !== 0).map(({ component, strength, start, end }) => ({ component, strength, start, end }));
  const request = () => {
    const message = { edits: edits(), noise_mode: settings.noise };
    if (config.source === "random" && settings.psi !== null) message.truncation_psi = settings.psi;
    return message;
  };
  const snapshot = () =>
    JSON.stringify({
      rows: rows.filter((row) => row.strength !== 0 || !isWhole(row)).map(({ component, strength, start, end }) => ({ component, strength, start, end })),
      ...settings,
    });

  /** Put a snapshot into the rows. A component that is edited twice, on different layers, gets a row of its own each. */
  const restore = (text) => {
    const state = JSON.parse(text);
    settings = { psi: state.psi ?? settings.psi, noise: state.noise || "const" };
    const waiting = state.rows.filter((row) => row.component < components.length);
    const next = [];
    for (const { index } of components) {
      const mine = waiting.filter((row) => row.component === index);
      if (!mine.length) mine.push({ component: index, strength: 0, start: 0, end: layers });
      for (const row of mine) {
        const start = clamp(row.start, 0, layers - 1);
        next.push({ component: index, strength: clamp(row.strength, -LIMIT_SIGMA, LIMIT_SIGMA), start, end: clamp(row.end, start + 1, layers) });
      }
    }
    const shape = (some) => some.map((row) => row.component).join();
    const same = shape(next) === shape(rows) && list.childElementCount;
    if (same) next.forEach((row, index) => Object.assign(rows[index], row));
    else rows = next;
    const needed = rows.reduce((most, row) => (row.strength !== 0 ? Math.max(most, row.component + 1) : most), 0);
    const before = shown;
    shown = Math.max(shown, Math.ceil(needed / FIRST_ROWS) * FIRST_ROWS);
    if (same && before === shown) rows.forEach(showRow);
    else buildRows();
    showSettings();
  };

  const key = `editor:${config.image}:${config.saved || ""}`;
  const remember = () => {
    try {
      sessionStorage.setItem(key, JSON.stringify({ state: snapshot(), past, future }));
    } catch {
      // Without storage a reload starts afresh.
    }
  };
  const remembered = () => {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  };

  // --- Undo and redo ---

  let past = [];
  let future = [];
  let committed = "";
  let commitTimer = 0;
  const commit = () => {
    clearTimeout(commitTimer);
    const now = snapshot();
    if (now === committed) return;
    past.push(committed);
    if (past.length > HISTORY) past.shift();
    future = [];
    committed = now;
    remember();
    showHistory();
  };
  /** Keys and typing make many small changes: they are one step once they pause. */
  const commitSoon = () => {
    clearTimeout(commitTimer);
    commitTimer = setTimeout(commit, COMMIT_MS);
  };
  const travel = (from, to) => {
    commit();
    if (!from.length) return;
    to.push(committed);
    committed = from.pop();
    restore(committed);
    changed();
    remember();
    showHistory();
  };
  const undo = () => travel(past, future);
  const redo = () => travel(future, past);
  const showHistory = () => {
    for (const button of root.querySelectorAll("[data-undo]")) button.disabled = !past.length;
    for (const button of root.querySelectorAll("[data-redo]")) button.disabled = !future.length;
    const untouched = !edits().length && settings.psi === config.truncation && settings.noise === "const";
    for (const button of root.querySelectorAll("[data-reset-all]")) button.disabled = untouched;
  };

  /** Something moved: ask for a new frame. */
  const changed = () => {
    if (built) preview.render(request());
    document.dispatchEvent(new CustomEvent("editor-changed"));
  };

  // --- Rows ---

  const buildRows = () => {
    list.replaceChildren();
    for (const row of rows) {
      if (row.component < shown) list.append(buildRow(row));
    }
    one("[data-more]").hidden = shown >= components.length;
    setActive(rows.find((row) => row.component === active?.component) || rows[0]);
  };

  const labelOf = (row) => components[row.component].name;

  const buildRow = (row) => {
    const item = template.content.firstElementChild.cloneNode(true);
    const part = (name) => item.querySelector(`[data-${name}]`);
    row.parts = {
      item, name: part("name"), badge: part("badge"), number: part("number"), range: part("range"),
      details: part("details"), toggle: part("toggle"), select: part("select"), custom: part("custom"), from: part("from"), to: part("to"),
    };
    const { range, number, select, from, to } = row.parts;
    const label = labelOf(row);
    row.parts.name.textContent = label;
    part("share").textContent = `${(components[row.component].variance * 100).toFixed(1)} %`;
    range.setAttribute("aria-label", `${label}, strength in sigma`);
    number.setAttribute("aria-label", `${label}, strength in sigma, typed`);
    part("reset").setAttribute("aria-label", `Reset ${label}`);
    select.append(rangeSelectTemplate.content.cloneNode(true));
    select.setAttribute("aria-label", `Layers that ${label} acts on`);
    from.max = to.max = layers;

    range.addEventListener("input", () => {
      const value = Number(range.value);
      setStrength(row, row.dragging && Math.abs(value) < SNAP_SIGMA ? 0 : value);
    });
    range.addEventListener("change", commitSoon);
    range.addEventListener("pointerdown", () => (row.dragging = true));
    for (const end of ["pointerup", "pointercancel"]) {
      range.addEventListener(end, () => {
        row.dragging = false;
        preview.settle();
        commit();
      });
    }
    range.addEventListener("dblclick", () => resetRow(row));
    number.addEventListener("input", () => {
      if (number.value !== "" && number.validity.valid) setStrength(row, Number(number.value), { typed: true });
    });
    number.addEventListener("change", () => {
      setStrength(row, clamp(Number(number.value) || 0, -LIMIT_SIGMA, LIMIT_SIGMA));
      commit();
    });
    part("reset").addEventListener("click", () => resetRow(row));
    row.parts.toggle.addEventListener("click", () => {
      row.parts.details.hidden = !row.parts.details.hidden;
      row.parts.toggle.setAttribute("aria-expanded", String(!row.parts.details.hidden));
    });
    item.addEventListener("focusin", () => row !== active && setActive(row));
    select.addEventListener("change", () => chooseRange(row, select.value));
    for (const input of [from, to]) input.addEventListener("change", () => typeRange(row));
    part("series").addEventListener("click", () => {
      setActive(row);
      PixelLift.editor.startSeries();
    });
    showRow(row);
    return item;
  };

  const setStrength = (row, value, { typed = false } = {}) => {
    row.strength = Math.round(value * 100) / 100;
    showRow(row, { typed });
    changed();
    commitSoon();
  };

  const resetRow = (row) => {
    row.dragging = false;
    Object.assign(row, { strength: 0, start: 0, end: layers });
    showRow(row);
    changed();
    commit();
  };

  const rangeNameOf = (row) => Object.keys(ranges).find((name) => ranges[name][0] === row.start && ranges[name][1] === row.end) || "custom";

  const chooseRange = (row, name) => {
    row.custom = name === "custom";
    if (!row.custom) [row.start, row.end] = ranges[name];
    showRow(row);
    changed();
    commit();
  };
  const typeRange = (row) => {
    const start = clamp(Math.round(Number(row.parts.from.value) || 1), 1, layers);
    const end = clamp(Math.round(Number(row.parts.to.value) || layers), start, layers);
    Object.assign(row, { start: start - 1, end });
    showRow(row);
    changed();
    commit();
  };

  const showRow = (row, { typed = false } = {}) => {
    if (!row.parts) return;
    const { item, badge, number, range, select, custom, from, to } = row.parts;
    range.value = row.strength;
    const share = (clamp(row.strength, -REACH_SIGMA, REACH_SIGMA) + REACH_SIGMA) / (2 * REACH_SIGMA);
    range.style.setProperty("--from", `${Math.min(share, 0.5) * 100}%`);
    range.style.setProperty("--to", `${Math.max(share, 0.5) * 100}%`);
    range.setAttribute("aria-valuetext", `${row.strength} sigma`);
    if (!typed) number.value = row.strength;
    item.classList.toggle("slider--moved", row.strength !== 0);
    const name = rangeNameOf(row);
    select.value = row.custom ? "custom" : name;
    custom.hidden = select.value !== "custom";
    from.value = row.start + 1;
    to.value = row.end;
    badge.hidden = name === "all";
    badge.textContent = name === "custom" ? `layers ${row.start + 1}–${row.end}` : name;
  };

  // What is open stays open: rows must not move under a pointer that has just taken a slider.
  const setActive = (row) => {
    for (const other of rows) other.parts?.item.classList.toggle("slider--active", other === row);
    active = row;
    document.dispatchEvent(new CustomEvent("editor-active"));
  };

  // --- The picture's own settings ---

  const psi = one("[data-psi]");
  const psiNumber = one("[data-psi-number]");
  const noise = one("[data-noise]");
  const showSettings = () => {
    if (psi && settings.psi !== null) {
      psi.value = settings.psi;
      psiNumber.value = settings.psi;
    }
    noise.value = settings.noise;
  };
  for (const input of [psi, psiNumber]) {
    input?.addEventListener("input", () => {
      if (input.value === "" || !input.validity.valid) return;
      settings.psi = Number(input.value);
      showSettings();
      changed();
      commitSoon();
    });
  }
  noise.addEventListener("change", () => {
    settings.noise = noise.value;
    changed();
    commit();
  });

  const resetAll = () => {
    restore(JSON.stringify({ rows: [], psi: config.truncation, noise: "const" }));
    for (const row of rows) row.custom = false;
    rows.forEach((row) => showRow(row));
    changed();
    commit();
  };

  // --- The picture ---

  let current = null;
  let before = null;
  let comparing = false;
  const paint = (bitmap) => {
    if (!bitmap) return;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
  };
  preview.addEventListener("frame", ({ detail }) => {
    if (current && current !== before) current.close();
    current = detail.bitmap;
    if (!before && !edits().length) before = current;
    if (!comparing) paint(current);
    root.dataset.drawn = "yes";
    canvas.dataset.seq = detail.seq;
    say("");
    document.dispatchEvent(new CustomEvent("preview-frame", { detail: { seq: detail.seq, exact: detail.exact, milliseconds: detail.milliseconds } }));
  });

  const original = one("[data-original]");
  /** Show the untouched picture while held. For the very first frame of a restored state, the stored file serves. */
  const compare = (on) => {
    if (on === comparing) return;
    comparing = on;
    root.classList.toggle("editor--comparing", on);
    for (const button of root.querySelectorAll("[data-compare]")) button.setAttribute("aria-pressed", String(on));
    if (!on) paint(current);
    else if (before) paint(before);
    else drawOriginal(canvas);
  };
  /** The uploaded photo's chosen square, or the generated picture as it was stored. */
  const drawOriginal = (onto) => {
    if (!original.complete || !original.naturalWidth) return;
    const crop = config.crop || { x: 0, y: 0, size: Math.min(original.naturalWidth, original.naturalHeight) };
    onto.getContext("2d").drawImage(original, crop.x, crop.y, crop.size, crop.size, 0, 0, onto.width, onto.height);
  };
  const photo = one("[data-photo]");
  if (photo) {
    const draw = () => drawOriginal(photo);
    if (original.complete) draw();
    original.addEventListener("load", draw);
  }
  for (const holder of root.querySelectorAll("[data-compare], [data-canvas]")) {
    holder.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      holder.setPointerCapture(event.pointerId);
      compare(true);
    });
    for (const end of ["pointerup", "pointercancel"]) holder.addEventListener(end, () => compare(false));
    holder.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      compare(true);
    });
    holder.addEventListener("keyup", () => compare(false));
    holder.addEventListener("blur", () => compare(false));
    holder.addEventListener("contextmenu", (event) => comparing && event.preventDefault());
  }

  // --- What the socket says ---

  const note = one("[data-note]");
  const say = (text, level = "info") => {
    note.textContent = text;
    note.hidden = !text;
    note.classList.toggle("notice--error", level === "error");
  };
  const STATES = {
    connecting: "Connecting to the studio…",
    lost: "The connection was lost. Your sliders are safe; connecting again…",
    "signed-out": "You are signed out. Reload the page to sign in again: your sliders are kept.",
    gone: "This picture is no longer there.",
  };
  preview.addEventListener("state", ({ detail }) => {
    root.dataset.connection = detail;
    if (detail === "connected") say(root.dataset.drawn ? "" : "Drawing…");
    else if (detail !== "connecting" || !root.dataset.drawn) say(STATES[detail], detail === "gone" ? "error" : "info");
  });
  preview.addEventListener("refused", ({ detail }) => say(detail.text, "error"));
  preview.addEventListener("unavailable", ({ detail }) => {
    if (detail.reason === "needs-projection") location.reload();
    else say(detail.reason, "error");
  });
  preview.addEventListener("ready", ({ detail }) => {
    if (built && components.length === detail.components.length) return;
    components = detail.components;
    ranges = detail.ranges;
    layers = detail.num_ws;
    if (config.truncation === null) config.truncation = detail.truncation_psi ?? null;
    settings.psi = config.truncation;
    begin();
  });

  /** First contact: build the sliders, and bring back what was there. */
  const begin = () => {
    const fresh = JSON.stringify({ rows: [], psi: config.truncation, noise: "const" });
    const recipe = savedRecipe && { rows: savedRecipe.edits, psi: savedRecipe.source.kind === "seed" ? savedRecipe.truncation_psi : null, noise: savedRecipe.noise_mode };
    const kept = remembered();
    restore(fresh);
    built = true;
    one("[data-no-components]").hidden = components.length > 0;
    const start = kept?.state || (recipe && JSON.stringify(recipe));
    // The untouched picture is asked for first: it is what "before" shows.
    if (start) {
      preview.addEventListener("frame", () => changed(), { once: true });
      preview.render({ edits: [], noise_mode: "const", ...(config.source === "random" ? { truncation_psi: config.truncation } : {}) });
      preview.addEventListener("frame", ({ detail }) => (before ??= detail.bitmap), { once: true });
      restore(start);
    } else {
      changed();
    }
    past = kept?.past || [];
    future = kept?.future || [];
    committed = snapshot();
    showHistory();
    document.dispatchEvent(new CustomEvent("editor-ready"));
  };

  // --- Buttons and keys ---

  root.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest(selector);
    if (hit("[data-undo]")) undo();
    else if (hit("[data-redo]")) redo();
    else if (hit("[data-reset-all]")) resetAll();
    else if (hit("[data-more]")) {
      shown += FIRST_ROWS;
      const first = shown - FIRST_ROWS;
      buildRows();
      rows.find((row) => row.component === first)?.parts?.range.focus();
    } else if (hit("[data-export]")) exportPicture();
    else if (hit("[data-save]")) openSave();
    else if (hit("[data-keys]")) document.getElementById("keys-dialog").showModal();
  });
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.altKey) return;
    const typing = event.target.matches("input[type=number], input[type=text], textarea, select");
    const mod = event.ctrlKey || event.metaKey;
    const letter = event.key.toLowerCase();
    if (mod && letter === "z") (event.shiftKey ? redo : undo)();
    else if (mod && letter === "y") redo();
    else if (mod && letter === "s") openSave();
    else if (mod || typing) return;
    else if (letter === "b") compare(true);
    else if (letter === "0" && active) resetRow(active);
    else if (event.key === "?") document.getElementById("keys-dialog").showModal();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "b") compare(false);
  });
  window.addEventListener("blur", () => compare(false));

  // --- Save and download ---

  const saveDialog = document.getElementById("save-dialog");
  const openSave = () => {
    commit();
    saveDialog.showModal();
    saveDialog.querySelector("[name=name]").select();
  };
  saveDialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const button = form.querySelector("[type=submit]");
    const error = form.querySelector("[data-save-error]");
    error.hidden = true;
    button.disabled = true;
    const { ok, status, data } = await PixelLift.post(form.action, { name: form.elements.name.value, recipe: JSON.stringify(request()) });
    button.disabled = false;
    if (ok) {
      saveDialog.close();
      PixelLift.toast(data.text);
    } else {
      error.textContent = data.detail || PixelLift.failure(status);
      error.hidden = false;
    }
  });

  const exportPicture = () => {
    if (!preview.export(request())) say("The picture cannot be downloaded while the connection is lost. It comes back by itself.", "error");
  };
  preview.addEventListener("export", ({ detail }) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([detail.blob], { type: "image/png" }));
    link.download = `${config.name.replace(/[^\p{L}\p{N} ._-]+/gu, "").trim() || "picture"}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });

  // --- What the series strip needs ---

  PixelLift.editor = {
    preview,
    request,
    active: () => active,
    label: labelOf,
    take(row, strength) {
      row.strength = Math.round(strength * 100) / 100;
      showRow(row);
      changed();
      commit();
    },
    say,
    startSeries() {},
  };
  preview.connect();
})();
