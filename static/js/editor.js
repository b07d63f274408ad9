// The editor: what the member did to a picture, as one state that undo, a reload and a recipe bring back.
// Its parts know their own things: editor-sliders, editor-settings, editor-stage or editor-panorama, editor-preview, editor-save.
(() => {
  const root = document.querySelector("[data-editor]");
  if (!root) return;
  const PixelLift = window.PixelLift;
  const one = (selector) => root.querySelector(selector);
  const config = JSON.parse(document.getElementById("editor-config").textContent);
  const savedRecipe = JSON.parse(document.getElementById("editor-recipe")?.textContent || "null");
  const HISTORY = 200;
  const COMMIT_MS = 600;

  const preview = new PixelLift.Preview(`/ws/transform/${config.image}/`);
  let built = false;

  // --- The parts, and what they ask of each other ---

  const hooks = {
    /** Something moved: ask for a new frame. */
    changed() {
      if (built) preview.render(request());
      document.dispatchEvent(new CustomEvent("editor-changed"));
    },
    commit: () => commit(),
    commitSoon: () => commitSoon(),
    settle: () => preview.settle(),
  };
  const sliders = PixelLift.editorSliders(root, hooks);
  const settings = PixelLift.editorSettings(root, config, hooks);
  const request = () => ({ edits: sliders.edits(), ...settings.request() });
  const untouched = () => ({ edits: [], ...settings.untouchedRequest() });
  const stage = (config.scrolls ? PixelLift.editorPanorama : PixelLift.editorStage)(root, config, preview, { request, untouched });
  PixelLift.editorPhoto(root, config);

  // --- State ---

  const snapshot = () => JSON.stringify({ rows: sliders.state(), ...settings.state() });
  const restore = (state) => {
    settings.put(state);
    sliders.put(state.rows || []);
  };
  const stateOf = (recipe) => ({
    rows: recipe.edits,
    psi: recipe.source.kind === "seed" ? recipe.truncation_psi : null,
    noise: recipe.noise_mode,
    class: recipe.source.class,
    move: recipe.move,
  });

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
    restore(JSON.parse(committed));
    hooks.changed();
    remember();
    showHistory();
  };
  const undo = () => travel(past, future);
  const redo = () => travel(future, past);
  const showHistory = () => {
    one("[data-undo]").disabled = !past.length;
    one("[data-redo]").disabled = !future.length;
    one("[data-reset-all]").disabled = !sliders.edits().length && settings.untouched();
  };
  const resetAll = () => {
    restore({});
    hooks.changed();
    commit();
  };

  // --- The picture, and the untouched one while held ---

  let comparing = false;
  const compare = (on) => {
    if (on === comparing) return;
    comparing = on;
    root.classList.toggle("editor--comparing", on);
    one("[data-compare]").setAttribute("aria-pressed", String(on));
    stage.compare(on);
  };
  const hold = (holder) => {
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
  };
  for (const holder of [one("[data-compare]"), ...stage.handles]) hold(holder);

  const drawn = ({ detail }) => {
    root.dataset.drawn = "yes";
    say("");
    document.dispatchEvent(new CustomEvent("preview-frame", { detail: { seq: detail.seq, exact: detail.exact, milliseconds: detail.milliseconds } }));
  };
  for (const name of ["frame", "tile"]) preview.addEventListener(name, drawn);

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
  let offered = "";
  preview.addEventListener("ready", ({ detail }) => {
    const now = JSON.stringify([detail.components, detail.factors]);
    if (built && offered === now) return;
    offered = now;
    stage.ready(detail);
    sliders.ready(detail);
    begin();
  });

  /** First contact: build the sliders, and bring back what was there. */
  const begin = () => {
    const kept = built ? { state: snapshot(), past, future } : remembered();
    const start = kept ? JSON.parse(kept.state) : savedRecipe && stateOf(savedRecipe);
    restore(start || {});
    built = true;
    hooks.changed();
    past = kept?.past || [];
    future = kept?.future || [];
    committed = snapshot();
    showHistory();
    document.dispatchEvent(new CustomEvent("editor-ready"));
  };

  // --- Buttons and keys ---

  const openSave = () => {
    commit();
    PixelLift.editor.openSave();
  };
  root.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest(selector);
    if (hit("[data-undo]")) undo();
    else if (hit("[data-redo]")) redo();
    else if (hit("[data-reset-all]")) resetAll();
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
    else if (letter === "0" && sliders.active()) sliders.resetActive();
    else if (event.key === "?") document.getElementById("keys-dialog").showModal();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "b") compare(false);
  });
  window.addEventListener("blur", () => compare(false));

  // --- What the other parts need ---

  PixelLift.editor = {
    config,
    preview,
    request,
    window: () => stage.window?.() ?? null,
    active: sliders.active,
    label: sliders.label,
    take: sliders.take,
    say,
    startSeries() {},
    openSave() {},
  };
  preview.connect();
})();
