// Uploads by button, drop and paste: one request a file, two at a time, each with its progress and its outcome.
const PixelLift = window.PixelLift;
const form = document.querySelector("[data-upload]");
const input = form.querySelector("input[type=file]");
const list = document.querySelector("[data-uploads]");
const grid = document.querySelector(form.dataset.grid);
const dropzone = document.querySelector("[data-dropzone]");
const maxBytes = Number(form.dataset.maxBytes);
const AT_ONCE = 2;

const waiting = [];
let running = 0;

const add = (files) => {
  for (const file of files) {
    const row = rowOf(file);
    list.append(row.element);
    if (file.size > maxBytes) {
      row.fail(`This file is larger than ${Math.round(maxBytes / 1048576)} MB. Choose a smaller one.`);
    } else {
      waiting.push({ file, row });
    }
  }
  next();
};

const next = () => {
  while (running < AT_ONCE && waiting.length) {
    const { file, row } = waiting.shift();
    running += 1;
    send(file, row, () => {
      running -= 1;
      next();
    });
  }
};

/** One line of the list: name, progress, and at the end either nothing or the reason. */
const rowOf = (file) => {
  const element = document.createElement("li");
  element.className = "upload-row";
  const name = document.createElement("strong");
  name.className = "truncate grow";
  name.textContent = file.name || "Pasted picture";
  const words = document.createElement("span");
  words.className = "small muted";
  words.textContent = "Waiting";
  const bar = document.createElement("progress");
  bar.className = "progress";
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${name.textContent}`);
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button button--quiet button--icon";
  close.setAttribute("aria-label", `Cancel the upload of ${name.textContent}`);
  close.innerHTML = '<svg class="icon" aria-hidden="true" viewBox="0 0 24 24"><use href="#icon-close"></use></svg>';
  element.append(name, words, close, bar);
  const row = {
    element,
    cancel: () => {},
    progress: (share) => {
      bar.value = share;
      words.textContent = share < 1 ? `${Math.round(share * 100)} %` : "Checking";
      if (share >= 1) bar.removeAttribute("value");
    },
    finish: () => element.remove(),
    fail: (text, { known = false } = {}) => {
      bar.remove();
      words.textContent = text;
      words.className = known ? "small" : "small field__error";
      element.classList.add("upload-row--over");
      element.classList.toggle("upload-row--refused", !known);
      element.setAttribute("role", "alert");
      close.setAttribute("aria-label", "Close");
      row.cancel = () => {};
    },
  };
  close.addEventListener("click", () => {
    const place = waiting.findIndex((item) => item.row === row);
    if (place >= 0) waiting.splice(place, 1);
    row.cancel();
    element.remove();
  });
  return row;
};

const send = (file, row, done) => {
  const request = new XMLHttpRequest();
  const body = new FormData();
  body.append("file", file, file.name || "pasted.png");
  request.open("POST", form.action);
  request.setRequestHeader("X-CSRFToken", PixelLift.csrf());
  request.setRequestHeader("HX-Request", "true");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) row.progress(event.loaded / event.total);
  });
  request.addEventListener("load", () => receive(request, row));
  request.addEventListener("error", () => row.fail(PixelLift.failure(0)));
  request.addEventListener("loadend", done);
  row.cancel = () => request.abort();
  row.progress(0);
  request.send(body);
};

const receive = (request, row) => {
  const answer = new DOMParser().parseFromString(request.responseText, "text/html");
  const cards = [...answer.querySelectorAll("article[data-picture]")];
  for (const card of cards) {
    grid.prepend(document.importNode(card, true));
    window.htmx.process(grid.firstElementChild);
  }
  if (cards.length) {
    row.finish();
    announce(request);
    return;
  }
  const refusal = answer.querySelector("[data-refusal]");
  const known = answer.querySelector("[data-known]")?.dataset.known;
  row.fail(refusal?.textContent || PixelLift.failure(request.status), { known: Boolean(known) });
  if (known) document.dispatchEvent(new CustomEvent("picture-known", { detail: { id: known } }));
};

const announce = (request) => {
  const trigger = request.getResponseHeader("HX-Trigger");
  if (!trigger || waiting.length) return;
  const { toast } = JSON.parse(trigger);
  if (toast) PixelLift.toast(toast.text, toast);
};

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
form.addEventListener("submit", (event) => event.preventDefault());

// --- Drop and paste ---

const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
let depth = 0;
const showDropzone = (shown) => {
  dropzone.hidden = !shown;
  if (!shown) depth = 0;
};
document.addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  depth += 1;
  showDropzone(true);
});
document.addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  depth -= 1;
  if (depth <= 0) showDropzone(false);
});
document.addEventListener("dragover", (event) => {
  if (carriesFiles(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  showDropzone(false);
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.target.closest?.("input, textarea, dialog")) return;
  const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
  if (files.length) add(files);
});
window.addEventListener("beforeunload", (event) => {
  if (running || waiting.length) event.preventDefault();
});
