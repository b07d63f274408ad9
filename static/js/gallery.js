// Cards that stay true: job news moves their bars, and what changed is fetched from the server again.
// Also the keyboard (arrows, Delete), undo of a deletion, and the page of one saved picture.
const grid = document.querySelector("[data-picture-grid]");
const savedDetail = document.querySelector("[data-saved-detail]");
const ACTIVE = new Set(["queued", "running"]);
const CARD_DELAY_MS = 40;

const cardOf = (id) => grid?.querySelector(`[data-picture="${CSS.escape(id)}"]`);

// --- News of jobs ---

document.addEventListener("job", ({ detail: job }) => {
  if (savedDetail && job.saved_image === savedDetail.dataset.savedDetail) followUpscaling(job);
  if (!grid) return;
  if (job.operation === "save" && job.state === "succeeded" && grid.id === "saved-grid") bringBack(job.saved_image, savedCardUrl(job.saved_image));
  const ready = new Set(job.ready || []);
  for (const id of new Set([job.image, job.saved_image, ...(job.images || [])])) {
    const card = id && cardOf(id);
    if (card) follow(card, job, ready.has(id));
  }
});

/** Move the bar while the card's work goes on; fetch the card when it shows something that is no longer so. */
const follow = (card, job, isReady) => {
  const drawn = job.operation === "random" && isReady;
  if (drawn ? !("ready" in card.dataset) : stateChanged(card, job)) {
    refresh(card);
    return;
  }
  const bar = card.querySelector("progress");
  if (bar && ACTIVE.has(job.state) && job.operation !== "random" && job.operation !== "save") bar.value = job.progress;
  const stage = card.querySelector("[data-stage]");
  if (stage && job.state === "running" && job.operation !== "random" && job.stage) stage.textContent = job.stage;
};
const stateChanged = (card, job) => {
  if (job.operation === "save") return false;
  if (job.operation === "random" && "ready" in card.dataset) return false;
  const shown = card.dataset.status;
  return ACTIVE.has(job.state) ? shown !== job.state : ACTIVE.has(shown);
};

// --- Fetching cards again: many at once, since one message can make ten of them old ---

const stale = new Set();
let timer = 0;
const refresh = (card) => {
  stale.add(card.dataset.picture);
  clearTimeout(timer);
  timer = setTimeout(fetchStale, CARD_DELAY_MS);
};

const fetchStale = async () => {
  const ids = [...stale];
  stale.clear();
  const url = grid.dataset.cardsUrl;
  if (!url) {
    for (const id of ids) await replace([id], cardOf(id)?.dataset.cardUrl);
  } else {
    for (let start = 0; start < ids.length; start += 36) {
      const some = ids.slice(start, start + 36);
      await replace(some, `${url}?${new URLSearchParams(some.map((id) => ["id", id]))}`);
    }
  }
};

/** Put the server's cards in place of ours; one that is not in the answer is gone. */
const replace = async (ids, url) => {
  if (!url) return;
  const response = await fetch(url, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!response || (!response.ok && response.status !== 404)) return;
  const found = response.ok ? cardsIn(await response.text()) : new Map();
  for (const id of ids) {
    const old = cardOf(id);
    if (!old) continue;
    const card = found.get(id);
    if (!card) {
      removeCard(old);
      continue;
    }
    const focused = old.contains(document.activeElement);
    old.replaceWith(card);
    window.htmx.process(card);
    if (focused) focusOn(card);
  }
};
const cardsIn = (html) => {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  return new Map([...parsed.querySelectorAll("[data-picture]")].map((card) => [card.dataset.picture, document.importNode(card, true)]));
};

// --- Deleting, and undo ---

const focusOn = (card) => card?.querySelector("[data-card-link]")?.focus();
const isCard = (element) => element?.matches?.("[data-picture]");
const neighbour = (card) => {
  if (isCard(card.nextElementSibling)) return card.nextElementSibling;
  return isCard(card.previousElementSibling) ? card.previousElementSibling : null;
};
const removeCard = (card) => {
  const next = card.contains(document.activeElement) ? neighbour(card) : null;
  card.remove();
  focusOn(next);
};

document.addEventListener("htmx:beforeSwap", (event) => {
  const { requestConfig, xhr } = event.detail; // detail.elt is what is swapped, not what asked
  const card = requestConfig.elt.matches("[data-delete]") && requestConfig.elt.closest("[data-picture]");
  if (!card || xhr.status >= 400 || !card.contains(document.activeElement)) return;
  const next = neighbour(card);
  setTimeout(() => focusOn(next), 30);
});

document.addEventListener("picture-restored", (event) => bringBack(event.detail.id, event.detail.card));

/** Fetch one card and put it where its age belongs. */
const bringBack = async (id, url) => {
  if (!grid || !url || cardOf(id)) return;
  const response = await fetch(url, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!response?.ok) return;
  const card = cardsIn(await response.text()).get(id);
  if (!card || cardOf(id)) return;
  const older = [...grid.querySelectorAll("[data-picture]")].find((other) => other.dataset.created < card.dataset.created);
  grid.insertBefore(card, older || grid.querySelector(".grid__more"));
  window.htmx.process(card);
};
const savedCardUrl = (id) => `/saved/${id}/card/`;

document.addEventListener("picture-known", (event) => {
  const card = cardOf(event.detail.id);
  card?.scrollIntoView({ block: "center" });
  focusOn(card);
});

// --- Keyboard: arrows move between cards, Delete deletes ---

grid?.addEventListener("keydown", (event) => {
  const link = event.target.closest("[data-card-link]");
  if (!link || event.ctrlKey || event.metaKey || event.altKey) return;
  const card = link.closest("[data-picture]");
  if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    card.querySelector("[data-delete]").requestSubmit();
    return;
  }
  const cards = [...grid.querySelectorAll("[data-picture]")];
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const target = step && cards[cards.indexOf(card) + step];
  if (!target) return;
  event.preventDefault();
  focusOn(target);
});

// --- Small things of these pages ---

document.addEventListener("click", (event) => {
  const target = event.target;
  if (!(target instanceof Element)) return;
  target.closest("[data-dismiss]")?.closest("li")?.remove();
  const cancel = target.closest("[data-close-dialog-link]");
  const dialog = cancel?.closest("dialog");
  if (dialog) {
    event.preventDefault();
    dialog.close();
  }
  // A menu closes once something in it was chosen.
  const menu = target.closest(".menu__list")?.closest("details[data-menu]");
  if (menu && target.closest("a, button")) menu.open = false;
});

// --- One saved picture ---

const followUpscaling = (job) => {
  if (job.operation !== "upscale") return;
  const panel = savedDetail.querySelector("[data-upscaling]");
  if (!ACTIVE.has(job.state) || !panel) {
    if (ACTIVE.has(job.state) || panel) showSaved();
    return;
  }
  if (job.state !== "running") return;
  panel.querySelector("progress").value = job.progress;
  panel.querySelector("[data-stage]").textContent = job.stage || "Enlarging";
};
let savedTimer = 0;
const showSaved = () => {
  clearTimeout(savedTimer);
  savedTimer = setTimeout(() => window.htmx.ajax("GET", savedDetail.dataset.url, { target: savedDetail, swap: "innerHTML" }), CARD_DELAY_MS);
};
if (savedDetail) {
  document.addEventListener("picture-renamed", showSaved);
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.requestConfig.elt.matches("[data-upscale]") && event.detail.successful) showSaved();
  });
}
