// The jobs drawer and the socket that feeds it. The server's list is the truth: this script only asks for it again
// when something changed, and moves progress bars in between. Other scripts listen for the "job" event on document.
(() => {
  const PixelLift = window.PixelLift;
  const drawer = document.querySelector("[data-jobs-drawer]");
  if (!drawer) return;
  const list = drawer.querySelector("[data-jobs-list]");
  const connectionNote = drawer.querySelector("[data-jobs-connection]");
  const jobs = new Map();
  const ACTIVE = new Set(["queued", "running"]);
  const SIGNED_OUT = 4401;
  const pageTitle = document.title;
  PixelLift.jobs = jobs;

  // --- The socket ---

  let socket = null;
  let leaving = false;

  const connect = () => {
    reconnection.cancel();
    if (socket && socket.readyState <= WebSocket.OPEN) return;
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/jobs/`);
    socket.addEventListener("message", (event) => receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (leaving) return;
      if (event.code === SIGNED_OUT) {
        say("You are signed out. Reload the page to sign in again.");
        return;
      }
      say("The connection was lost. Connecting again…");
      reconnection.later();
    });
  };
  const reconnection = new PixelLift.Reconnection(connect);
  const say = (text) => {
    connectionNote.textContent = text;
    connectionNote.hidden = !text;
  };
  window.addEventListener("online", () => reconnection.now());
  window.addEventListener("pageshow", () => {
    leaving = false;
    reconnection.now();
  });
  window.addEventListener("pagehide", () => {
    leaving = true;
    socket?.close();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) reconnection.now();
  });

  const receive = (message) => {
    if (message.type === "snapshot") {
      reconnection.worked();
      say("");
      const present = new Set(message.jobs.map((job) => job.id));
      for (const id of jobs.keys()) if (!present.has(id)) jobs.delete(id);
      for (const job of message.jobs) accept(job);
      refreshLists();
    } else if (message.type === "job") {
      accept(message.job);
    } else if (message.type === "outlook") {
      for (const { id, ...outlook } of message.jobs) foresee(id, outlook);
    }
    showCount();
  };

  /** Keep what is news; older than what we hold means it was overtaken. */
  const accept = (job) => {
    const held = jobs.get(job.id);
    if (held && job.sequence <= held.sequence) return;
    jobs.set(job.id, job);
    if (held?.state === job.state) moveBar(job);
    else refreshLists();
    if (held && ACTIVE.has(held.state) && !ACTIVE.has(job.state)) announce(job);
    document.dispatchEvent(new CustomEvent("job", { detail: job }));
  };

  /** A job that stays as it is moves on in line all the same. */
  const foresee = (id, outlook) => {
    const held = jobs.get(id);
    if (!held || !ACTIVE.has(held.state)) return;
    const job = { ...held, ...outlook };
    jobs.set(id, job);
    moveBar(job);
    document.dispatchEvent(new CustomEvent("job", { detail: job }));
  };

  // --- What the member sees ---

  const showCount = () => {
    const active = [...jobs.values()].filter((job) => ACTIVE.has(job.state)).length;
    for (const badge of document.querySelectorAll("[data-jobs-count]")) {
      badge.textContent = active || "";
      badge.title = active ? `${active} running or waiting` : "";
    }
    document.title = active ? `(${active}) ${pageTitle}` : pageTitle;
  };

  const moveBar = (job) => {
    for (const row of document.querySelectorAll(`[data-job="${CSS.escape(job.id)}"]`)) {
      const bar = row.querySelector("progress");
      if (bar) bar.value = job.progress;
      const stage = row.querySelector("[data-job-stage]");
      if (stage) stage.textContent = stageOf(job);
      const picture = row.querySelector("[data-job-preview]");
      if (picture && job.has_preview && picture.offsetParent) {
        picture.src = `${job.preview_url}?${job.sequence}`;
        picture.hidden = false;
      }
    }
  };
  /** What a job does now, and how long it will take, in words. */
  const stageOf = (job) => {
    if (job.state === "queued") return job.outlook || "In line";
    return job.outlook ? `${job.stage || "Starting"} · ${job.outlook}` : job.stage || "Starting";
  };
  PixelLift.stageOf = stageOf;

  /** Tell how a job ended that was seen running here. */
  const announce = (job) => {
    if (document.hidden) return;
    if (job.state === "failed") {
      PixelLift.toast(job.error || "A job failed. The jobs drawer says which.", { level: "error" });
    } else if (job.state === "succeeded") {
      const said = {
        save: ["Saved.", "Show it"],
        upscale: ["Enlarged.", "Show it"],
        project: ["Found in the model.", "Open the editor"],
        import: ["The generator is installed.", "Show it"],
        directions: ["Contact sheet and directions are there.", "Show them"],
      }[job.operation];
      const url = urlOf(job);
      if (!said || !url || url === location.pathname) return;
      PixelLift.toast(said[0], { level: "success", link: { url, text: said[1] } });
    }
  };
  const urlOf = (job) => {
    const fill = (template, id) => (id && template ? template.replace(/[0-]{36}/, id) : null);
    if (job.checkpoint_import) return fill(drawer.dataset.importUrl, job.checkpoint_import);
    if (job.operation === "project") return fill(drawer.dataset.editUrl, job.image);
    return fill(drawer.dataset.savedUrl, job.saved_image);
  };
  PixelLift.urlOfJob = urlOf;

  // --- The lists: the drawer's own, and the page's at /jobs/ ---

  let refreshTimer = 0;
  const refreshLists = () => {
    clearTimeout(refreshTimer);
    refreshTimer = setTimeout(() => {
      for (const element of document.querySelectorAll("[data-jobs-list]")) {
        if (element.closest("[hidden]")) continue;
        const focused = document.activeElement?.closest?.("[data-job]")?.dataset.job;
        window.htmx.ajax("GET", element.dataset.url || drawer.dataset.url, { target: element, swap: "innerHTML" }).then(() => {
          if (focused && element.contains(document.activeElement) === false && document.activeElement === document.body) {
            element.querySelector(`[data-job="${CSS.escape(focused)}"] button, [data-job="${CSS.escape(focused)}"] a`)?.focus();
          }
        });
      }
    }, 120);
  };
  document.addEventListener("jobs-changed", refreshLists);

  const toggles = document.querySelectorAll("[data-jobs-toggle]");
  const show = (open) => {
    drawer.hidden = !open;
    for (const toggle of toggles) toggle.setAttribute("aria-expanded", String(open));
    if (!open) return;
    refreshLists();
    drawer.querySelector("[data-jobs-close]").focus({ preventScroll: true });
  };
  for (const toggle of toggles) {
    toggle.setAttribute("aria-expanded", "false");
    toggle.setAttribute("aria-controls", drawer.id);
    toggle.addEventListener("click", (event) => {
      // On the jobs page itself, and for a new tab, the link is a link.
      if (event.ctrlKey || event.metaKey || event.shiftKey || location.pathname === toggle.pathname) return;
      event.preventDefault();
      show(drawer.hidden);
    });
  }
  const closeToToggle = () => {
    show(false);
    [...toggles].find((toggle) => toggle.offsetParent)?.focus();
  };
  drawer.querySelector("[data-jobs-close]").addEventListener("click", closeToToggle);
  drawer.addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeToToggle();
  });

  list.dataset.url = drawer.dataset.url;
  connect();
})();
