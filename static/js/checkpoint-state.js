// The admin's page of one import: while work on it is under way, shows how far it is, and the whole page anew at its end.
const EVERY_MS = 1500;
const live = document.querySelector("[data-live]");

const look = async () => {
  if (document.hidden) return true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok || response.redirected) return true;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (!fresh || fresh.dataset.active === undefined) {
      location.reload();
      return false;
    }
    for (const selector of ["progress", "[role=status]", ".import-badge"]) update(selector, fresh);
  } catch {
    // The server may be restarting: look again.
  }
  return true;
};
/** Only what changed is touched, so that a screen reader and the focus are left in peace. */
const update = (selector, fresh) => {
  const [old, now] = [live.querySelector(selector), fresh.querySelector(selector)];
  if (!old || !now) return;
  if (old.tagName === "PROGRESS") old.value = now.value;
  else if (old.textContent !== now.textContent) old.textContent = now.textContent;
};
const lookAgain = () => setTimeout(async () => (await look()) && lookAgain(), EVERY_MS);

if (live?.dataset.active !== undefined) lookAgain();
