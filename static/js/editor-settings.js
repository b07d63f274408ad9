// What can be asked of a picture besides its sliders: truncation, grain, class, and where it lies in the frame.
// The page holds the fields that the picture's generator has use for; what it does not hold is not asked for.
(() => {
  const PixelLift = window.PixelLift;
  const STILL = { x: 0, y: 0, degrees: 0 };
  const AXES = Object.keys(STILL);
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

  /** `hooks`: changed, commit, commitSoon, settle; see editor.js. */
  PixelLift.editorSettings = (root, config, hooks) => {
    const one = (selector) => root.querySelector(selector);
    const psi = [...root.querySelectorAll("[data-psi]")];
    const noise = one("[data-noise]");
    const kind = one("[data-class]");
    const moves = [...root.querySelectorAll("[data-move]")];
    const classes = kind ? [...(kind.list || kind).options].map((option) => option.value) : [];
    const initial = { psi: config.truncation, noise: "const", class: config.class_index, move: STILL };
    let now = { ...initial };

    const show = () => {
      for (const input of psi) input.value = now.psi;
      if (noise) noise.value = now.noise;
      if (kind && document.activeElement !== kind) kind.value = classes[now.class] ?? "";
      for (const input of moves) {
        const value = now.move[input.dataset.move] * Number(input.dataset.scale || 1);
        input.value = Math.round(value * 10) / 10;
      }
      const moved = one("[data-still]");
      if (moved) moved.disabled = same(now.move, STILL);
    };
    const set = (change, commit) => {
      now = { ...now, ...change };
      show();
      hooks.changed();
      commit();
    };

    for (const input of psi) {
      input.addEventListener("input", () => {
        if (input.value !== "" && input.validity.valid) set({ psi: Number(input.value) }, hooks.commitSoon);
      });
    }
    noise?.addEventListener("change", () => set({ noise: noise.value }, hooks.commit));

    for (const input of moves) {
      const axis = input.dataset.move;
      const to = (value, commit) => set({ move: { ...now.move, [axis]: value / Number(input.dataset.scale || 1) } }, commit);
      input.addEventListener("input", () => {
        if (input.value !== "" && input.validity.valid) to(Number(input.value), hooks.commitSoon);
      });
      input.addEventListener("pointerup", () => {
        hooks.settle();
        hooks.commit();
      });
      input.addEventListener("change", () => input.value === "" && show());
      if (input.type === "range") input.addEventListener("dblclick", () => to(0, hooks.commit));
    }
    one("[data-still]")?.addEventListener("click", () => set({ move: STILL }, hooks.commit));

    /** The class that is meant: a name, its number, or a part that only one name has. -1: none. */
    const classOf = (words) => {
      const wanted = words.trim().toLowerCase();
      const names = classes.map((name) => name.toLowerCase());
      const exact = names.indexOf(wanted);
      if (exact >= 0 || !wanted) return exact;
      if (/^\d+$/.test(wanted)) return Number(wanted) < classes.length ? Number(wanted) : -1;
      const found = names.flatMap((name, index) => (name.includes(wanted) ? [index] : []));
      return found.length === 1 ? found[0] : -1;
    };
    const chooseClass = (index) => {
      if (index >= 0 && index !== now.class) set({ class: index }, hooks.commit);
    };
    // What is picked from the list is whole at once; what is typed, when the field is left or Enter is pressed.
    kind?.addEventListener("input", () => classes.includes(kind.value) && chooseClass(classes.indexOf(kind.value)));
    const typed = () => {
      const index = classOf(kind.value);
      if (kind.value && index < 0) PixelLift.editor.say(`There is no class “${kind.value}”, or more than one. Choose one of the list.`, "error");
      chooseClass(index);
    };
    kind?.addEventListener("change", typed);
    kind?.addEventListener("blur", () => setTimeout(show));
    kind?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      typed();
      kind.blur();
    });

    const request = (state = now) => {
      const message = { noise_mode: state.noise };
      if (psi.length && state.psi !== null) message.truncation_psi = state.psi;
      if (kind && state.class !== null) message.class_index = state.class;
      if (moves.length && !same(state.move, STILL)) message.move = state.move;
      return message;
    };
    show();

    return {
      request,
      untouchedRequest: () => request(initial),
      state: () => ({ ...now }),
      put(state) {
        const move = Object.fromEntries(AXES.map((axis) => [axis, Number(state.move?.[axis]) || 0]));
        now = { psi: state.psi ?? initial.psi, noise: state.noise || "const", class: state.class ?? initial.class, move };
        show();
      },
      untouched: () => same(request(), request(initial)),
    };
  };
})();
