// A notification of the browser when a long job ends, for those who asked for it in the jobs drawer.
(() => {
  const PixelLift = window.PixelLift;
  const button = document.querySelector("[data-notify]");
  if (!button || !("Notification" in window)) return;
  const LONG_MS = 20_000;
  const CHOICE = "pixellift-notify";
  const ACTIVE = new Set(["queued", "running"]);
  const going = new Set(); // jobs that were seen running or waiting here: only their ends are news

  const chosen = () => localStorage.getItem(CHOICE) === "yes" && Notification.permission === "granted";
  const show = () => {
    button.hidden = false;
    button.setAttribute("aria-pressed", String(chosen()));
    button.textContent = chosen() ? "Notifications are on" : "Notify me when long jobs end";
  };
  button.addEventListener("click", async () => {
    if (chosen()) {
      localStorage.removeItem(CHOICE);
    } else if ((await Notification.requestPermission()) === "granted") {
      localStorage.setItem(CHOICE, "yes");
    } else {
      PixelLift.toast("Your browser does not allow notifications of this site. Its settings can change that.", { level: "error" });
    }
    show();
  });

  document.addEventListener("job", ({ detail: job }) => {
    if (ACTIVE.has(job.state)) {
      going.add(job.id);
      return;
    }
    if (!going.delete(job.id) || !chosen() || !document.hidden || !["succeeded", "failed"].includes(job.state)) return;
    if (Date.parse(job.finished_at) - Date.parse(job.created_at) < LONG_MS) return;
    // The tag makes one of the notifications of several open pages.
    const note = new Notification(job.state === "succeeded" ? "Done" : "Failed", { body: job.error || job.title, tag: job.id });
    note.addEventListener("click", () => {
      window.focus();
      const url = PixelLift.urlOfJob(job);
      if (url && job.state === "succeeded") location.href = url;
      note.close();
    });
  });
  window.addEventListener("storage", show);
  show();
})();
