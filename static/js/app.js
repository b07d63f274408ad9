// What every page needs: theme button, toasts, dialogs, confirmation, and words for requests that failed.
// Other scripts use window.PixelLift: toast(), confirm(), post(), csrf, reducedMotion.
(() => {
  const PixelLift = window.PixelLift;
  const byId = (id) => document.getElementById(id);
  const TOAST_SECONDS = 6;
  const TOAST_WITH_UNDO_SECONDS = 12;

  PixelLift.csrf = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  PixelLift.reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** POST a form to our own site and ask for JSON. Resolves to {ok, status, data}; status 0: no answer came. */
  PixelLift.post = async (url, fields = {}) => {
    try {
      const response = await fetch(url, {
        method: "POST",
        body: new URLSearchParams(fields),
        headers: { "X-CSRFToken": PixelLift.csrf(), Accept: "application/json" },
      });
      const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
      return { ok: response.ok && isJson, status: response.status, data: isJson ? await response.json() : {} };
    } catch {
      return { ok: false, status: 0, data: {} };
    }
  };

  // --- Toasts ---

  /** Show a sentence for a while. Options: level (info, success, error), undo (URL to POST to), link ({url, text}). */
  PixelLift.toast = (text, { level = "info", undo = null, link = null } = {}) => {
    const toast = document.createElement("div");
    toast.className = `toast toast--${level}`;
    toast.dataset.toast = "";
    const words = document.createElement("p");
    words.className = "toast__text";
    words.textContent = text;
    toast.append(words);
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link.url;
      anchor.textContent = link.text;
      toast.append(anchor);
    }
    if (undo) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "toast__undo";
      button.textContent = "Undo";
      button.addEventListener("click", () => {
        toast.remove();
        window.htmx.ajax("POST", undo, { source: document.body, swap: "none" });
      });
      toast.append(button);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.dataset.toastClose = "";
    close.setAttribute("aria-label", "Close");
    close.innerHTML = '<svg class="icon" aria-hidden="true" viewBox="0 0 24 24"><use href="#icon-close"></use></svg>';
    toast.append(close);
    if (level === "error") toast.setAttribute("role", "alert");
    byId("toasts").append(toast);
    expire(toast, (undo || link ? TOAST_WITH_UNDO_SECONDS : TOAST_SECONDS) * 1000);
    return toast;
  };

  /** Remove a toast after a while, but never while somebody points at it or has the focus in it. */
  const expire = (toast, milliseconds) => {
    const leave = () => {
      if (toast.matches(":hover, :focus-within")) setTimeout(leave, 1500);
      else toast.remove();
    };
    setTimeout(leave, milliseconds);
  };

  document.addEventListener("toast", (event) => {
    const { text, value, ...options } = event.detail;
    PixelLift.toast(text || value, options);
  });
  for (const toast of document.querySelectorAll("[data-toast]")) expire(toast, TOAST_SECONDS * 1000);

  // --- Clicks that every page knows ---

  document.addEventListener("click", (event) => {
    const target = event.target;
    if (!(target instanceof Element)) return;
    if (target.closest("[data-theme-toggle]")) PixelLift.toggleTheme();
    target.closest("[data-toast-close]")?.closest("[data-toast]")?.remove();
    target.closest("[data-close-dialog]")?.closest("dialog")?.close();
    if (target.matches("dialog")) closeWhenOutside(target, event);
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  /** A click on the backdrop is a click on the dialog itself, outside its box. */
  const closeWhenOutside = (dialog, event) => {
    const box = dialog.getBoundingClientRect();
    const inside =
      event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside && event.detail) dialog.close();
  };

  // --- Dialogs: whatever htmx puts into #dialog-body opens the dialog; success of a form in it closes it. ---

  const dialog = byId("dialog");
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "dialog-body" && !dialog.open) dialog.showModal();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail; // detail.elt is what is swapped, not what asked
    if (xhr.status === 422 && requestConfig.elt.closest("#dialog-body")) {
      event.detail.target = byId("dialog-body");
      event.detail.swapOverride = "innerHTML";
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { xhr, requestConfig } = event.detail; // a refused form is swapped in, so htmx calls it successful
    if (xhr.status < 300 && requestConfig.verb !== "get" && requestConfig.elt.closest("#dialog-body")) dialog.close();
  });
  dialog.addEventListener("close", () => byId("dialog-body").replaceChildren());

  // --- Confirmation in our own dialog: hx-confirm on htmx elements, data-confirm on plain forms. ---

  /** Ask; resolves to true when the member said yes. */
  PixelLift.confirm = (question, { yes = "Go ahead" } = {}) =>
    new Promise((resolve) => {
      const box = byId("confirm");
      byId("confirm-question").textContent = question;
      box.querySelector("[value=yes]").textContent = yes;
      box.returnValue = "no";
      box.addEventListener("close", () => resolve(box.returnValue === "yes"), { once: true });
      box.showModal();
    });

  document.addEventListener("htmx:confirm", async (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    const yes = event.target.dataset?.confirmYes;
    if (await PixelLift.confirm(event.detail.question, { yes })) event.detail.issueRequest(true);
  });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.confirm || form.dataset.confirmed) return;
    event.preventDefault();
    const submitter = event.submitter;
    if (!(await PixelLift.confirm(form.dataset.confirm, { yes: form.dataset.confirmYes }))) return;
    form.dataset.confirmed = "yes";
    form.requestSubmit(submitter);
    delete form.dataset.confirmed;
  });

  // --- Number steppers and the dice: <div data-stepper> with data-step buttons, data-dice="input id". ---

  document.addEventListener("click", (event) => {
    const step = event.target.closest?.("[data-step]");
    if (step) {
      const input = step.closest("[data-stepper]").querySelector("input");
      if (Number(step.dataset.step) > 0) input.stepUp();
      else input.stepDown();
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
    const dice = event.target.closest?.("[data-dice]");
    if (dice) {
      const input = byId(dice.dataset.dice);
      input.value = crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });
  document.addEventListener("input", (event) => {
    const shown = event.target.dataset?.output;
    if (shown) byId(shown).value = event.target.value;
  });

  // --- Failed requests say so ---

  const FAILURES = {
    0: "The server cannot be reached. Check your connection and try again.",
    403: "That was refused. Reload the page and try again.",
    404: "That is no longer there. Reload the page to see what is.",
    413: "That is too large to send.",
    503: "A part of the site cannot be reached at the moment. Nothing of yours is lost: try again in a few seconds.",
    429: "That was too much at once. Wait a moment and try again.",
  };
  PixelLift.failure = (status) => FAILURES[status] || "Something went wrong on the server. Try again in a moment.";
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    if ((xhr.getResponseHeader("HX-Trigger") || "").includes('"toast"')) return;
    PixelLift.toast(PixelLift.failure(xhr.status), { level: "error" });
  });
  document.addEventListener("htmx:sendError", () => PixelLift.toast(FAILURES[0], { level: "error" }));
})();
