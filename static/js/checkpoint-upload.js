// The admin's upload page: announces a checkpoint to the API, sends it in slices, and goes on after a lost connection.
const form = document.querySelector("[data-import]");
const part = (name) => form.querySelector(`[data-${name}]`);
const fileInput = form.querySelector("input[type=file]");
const nameInput = form.elements.namedItem("name");
const labelInput = form.elements.namedItem("label");
const bar = part("progress").querySelector("progress");
const words = part("words");
const start = part("start");
const stop = part("stop");
const known = JSON.parse(form.dataset.known);
const maxBytes = Number(form.dataset.maxBytes);

const MEGABYTE = 1e6;
const TIMEOUT_MS = 120_000;
const RETRY_MS = [1000, 2000, 5000, 10_000, 20_000];
const GIVE_UP_AFTER = 60; // tries without a single slice coming through: a quarter of an hour

let current = null; // the XMLHttpRequest that is under way
let running = false;

// --- Asking ---

/** Ask the API. Resolves to {status, data}; status 0: no answer came. */
const ask = (method, url, body, { type = "application/json", onProgress = null } = {}) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const nothing = () => resolve({ status: 0, data: {} });
    request.open(method, url);
    request.timeout = TIMEOUT_MS;
    request.setRequestHeader("Content-Type", type);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", form.elements.namedItem("csrfmiddlewaretoken").value);
    if (onProgress) request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () => resolve({ status: request.status, data: parsed(request), wait: waitOf(request) }));
    for (const event of ["error", "timeout", "abort"]) request.addEventListener(event, nothing);
    request.send(body);
    current = request;
  });
const parsed = (request) => {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return {};
  }
};
const waitOf = (request) => Number(request.getResponseHeader("Retry-After") || 0) * 1000;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// --- What is shown ---

const show = (element, text) => {
  element.hidden = !text;
  element.textContent = text || "";
};
const clearErrors = () => {
  show(part("problem"), "");
  for (const element of form.querySelectorAll("[data-error-for]")) show(element, "");
};
/** Put sentences beside their fields, and those that have none on top. */
const showErrors = ({ status, data }) => {
  const rest = [];
  if (status === 401 || status === 403) data = { detail: FAILURES[status] };
  for (const [field, said] of Object.entries(data)) {
    const text = Array.isArray(said) ? said.flat().join(" ") : typeof said === "object" ? Object.values(said).flat().join(" ") : String(said);
    const place = form.querySelector(`[data-error-for="${CSS.escape(field)}"]`);
    if (place) show(place, text);
    else rest.push(text);
  }
  if (!Object.keys(data).length) rest.push(FAILURES[status] || "Something went wrong on the server. Try again in a moment.");
  show(part("problem"), rest.join(" "));
  form.querySelector("[data-error-for]:not([hidden])")?.parentElement.querySelector("input, textarea")?.focus();
};
const FAILURES = {
  0: "The server cannot be reached. Check the connection, and press Upload again: it goes on where it was.",
  401: "You are signed out. Sign in in another tab, and press Upload again: it goes on where it was.",
  403: "You may not do this. Reload the page; if you were away for long, sign in again.",
};
const megabytes = (bytes) => Math.round(bytes / MEGABYTE).toLocaleString("en");

/** Bytes that have come through, how fast, and how long the rest will take. */
class Meter {
  constructor(total, done) {
    Object.assign(this, { total, from: done, since: performance.now() });
    this.show(done);
  }
  show(done) {
    bar.value = done / this.total;
    const seconds = (performance.now() - this.since) / 1000;
    const speed = (done - this.from) / seconds;
    const rest = speed > 0 && seconds > 2 ? `, ${(speed / MEGABYTE).toFixed(1)} MB/s, ${duration((this.total - done) / speed)} left` : "";
    words.textContent = `${megabytes(done)} of ${megabytes(this.total)} MB${rest}`;
  }
}
const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} seconds` : `${Math.round(seconds / 60)} minutes`);

const setRunning = (value) => {
  running = value;
  part("fields").disabled = value;
  start.hidden = value;
  stop.hidden = !value;
  stop.disabled = false;
  if (value) part("progress").hidden = false;
};

// --- Sending ---

const announcement = (file) =>
  JSON.stringify({
    name: nameInput.value.trim(),
    label: labelInput.value.trim(),
    license: form.elements.namedItem("license").value.trim(),
    classes: namesIn(form.elements.namedItem("classes").value),
    file_name: file.name,
    bytes: file.size,
    fingerprint: String(file.lastModified),
  });
const namesIn = (text) => {
  const lines = text.trim().split("\n").map((line) => line.trim());
  return lines.length === 1 && !lines[0] ? [] : lines;
};

const upload = async (file) => {
  const answer = await ask("POST", form.dataset.api, announcement(file));
  if (answer.status !== 200 && answer.status !== 201) {
    part("progress").hidden = true;
    showErrors(answer);
    return;
  }
  const row = await send(file, answer.data);
  if (row) location.assign(form.dataset.page.replace(/[0-]{36}/, row.id));
};

/** Send slice after slice from where the server is. Resolves to the row when the file is whole, null if it was stopped. */
const send = async (file, row) => {
  const meter = new Meter(file.size, row.bytes_received);
  let failures = 0;
  while (row.state === "uploading" && running) {
    const offset = row.bytes_received;
    const body = file.slice(offset, offset + row.slice_bytes);
    const url = `${form.dataset.api}${row.id}/slices/${offset}/`;
    const answer = await ask("PUT", url, body, { type: "application/octet-stream", onProgress: (sent) => meter.show(offset + Math.min(sent, body.size)) });
    if (!running) return null;
    const told = answer.data.bytes_received !== undefined;
    if (answer.status === 200 || (answer.status === 409 && told)) {
      failures = 0;
      row = answer.data;
      meter.show(row.bytes_received);
    } else if (isPassing(answer.status) && failures < GIVE_UP_AFTER) {
      words.textContent = answer.status === 0 ? "The connection was lost. Trying again …" : "The server is busy. Trying again …";
      await sleep(answer.wait || RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
      failures += 1;
    } else {
      showErrors(answer);
      return null;
    }
  }
  return running ? row : null;
};
const isPassing = (status) => status === 0 || status === 429 || (status >= 500 && status !== 507);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [file] = fileInput.files;
  if (!file || running) return;
  clearErrors();
  if (file.size > maxBytes) {
    show(part("problem"), `This file has ${megabytes(file.size)} MB. At most ${megabytes(maxBytes)} MB are taken here.`);
    return;
  }
  setRunning(true);
  words.textContent = "Starting";
  try {
    await upload(file);
  } catch {
    show(part("problem"), "The file cannot be read. If it was changed or moved, choose it again.");
  } finally {
    setRunning(false);
  }
});
stop.addEventListener("click", () => {
  running = false;
  stop.disabled = true;
  current?.abort();
  words.textContent = "Paused. Press Upload to go on.";
});
window.addEventListener("beforeunload", (event) => {
  if (running && !current?.finished) event.preventDefault();
});

// --- Known files ---

const recognise = () => {
  clearErrors();
  const [file] = fileInput.files;
  if (!file) return;
  const entry = known[file.name];
  part("recognised").textContent = entry ? `Known: ${entry.label}. Label, licence and crop need not be given.` : "";
  if (!nameInput.value) nameInput.value = entry?.name || slug(file.name);
  labelInput.placeholder = entry?.label || "";
};
const slug = (name) =>
  name
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, "-")
    .replace(/^[-_]+|-+$/g, "")
    .slice(0, 63);
fileInput.addEventListener("change", recognise);
if (fileInput.files.length) recognise(); // it may have been chosen before this script had come

start.disabled = false;
