// Runs before the first paint, so that the page never flashes in the other theme.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Storage can be forbidden: then the system decides.
  }
  const apply = () => {
    if (chosen) root.dataset.theme = chosen;
    root.dataset.shade = chosen || (dark.matches ? "dark" : "light");
  };
  root.classList.remove("no-js");
  apply();
  dark.addEventListener("change", apply);
  window.PixelLift = {
    toggleTheme() {
      chosen = root.dataset.shade === "dark" ? "light" : "dark";
      apply();
      try {
        localStorage.setItem("theme", chosen);
      } catch {
        // The choice then lasts until the page is left.
      }
    },
  };
})();
