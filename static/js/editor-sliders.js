// The editor's sliders, in sigma along a generator's directions. There may be two families of them, components and factors:
// one is shown at a time, and what is moved in both adds up. A row is {basis, component, start, end, strength}.
(() => {
  const PixelLift = window.PixelLift;
  const REACH_SIGMA = 5;
  const LIMIT_SIGMA = 10;
  const SNAP_SIGMA = 0.12;
  const FIRST_ROWS = 10;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const plain = ({ basis, component, strength, start, end }) => ({ basis, component, strength, start, end });

  /** `hooks`: changed, commit, commitSoon, settle; see editor.js. */
  PixelLift.editorSliders = (root, hooks) => {
    const list = root.querySelector("[data-sliders]");
    const template = document.getElementById("slider-row");
    const rangeOptions = document.getElementById("range-options");
    const families = { components: [], factors: [] };
    const shown = { components: FIRST_ROWS, factors: FIRST_ROWS };
    let family = "components";
    let ranges = {};
    let layers = 1;
    let rows = [];
    let active = null;

    const ready = (message) => {
      families.components = message.components;
      families.factors = message.factors || [];
      ranges = message.ranges;
      layers = message.num_ws;
      const both = families.components.length && families.factors.length;
      root.querySelector("[data-families]").hidden = !both;
      root.querySelector("[data-no-components]").hidden = Boolean(families.components.length || families.factors.length);
      if (!families[family].length && families.factors.length) family = "factors";
    };

    // --- What they say ---

    const isWhole = (row) => row.start === 0 && row.end === layers;
    const edits = () => rows.filter((row) => row.strength !== 0).map(plain);
    const state = () => rows.filter((row) => row.strength !== 0 || !isWhole(row)).map(plain);

    /** Put rows back. A direction that is edited twice, on different layers, gets a row of its own each. */
    const put = (wanted) => {
      const next = [];
      for (const [basis, directions] of Object.entries(families)) {
        for (const { index } of directions) {
          const mine = wanted.filter((row) => (row.basis || "components") === basis && row.component === index);
          if (!mine.length) mine.push({ strength: 0, start: 0, end: layers });
          for (const row of mine) {
            const start = clamp(row.start, 0, layers - 1);
            const strength = clamp(row.strength, -LIMIT_SIGMA, LIMIT_SIGMA);
            next.push({ basis, component: index, strength, start, end: clamp(row.end, start + 1, layers) });
          }
        }
      }
      const shape = (some) => some.map((row) => `${row.basis} ${row.component}`).join();
      const same = shape(next) === shape(rows) && list.childElementCount;
      if (same) next.forEach((row, index) => Object.assign(rows[index], row, { custom: false }));
      else rows = next;
      const before = { ...shown };
      for (const row of rows) {
        if (row.strength !== 0) shown[row.basis] = Math.max(shown[row.basis], Math.ceil((row.component + 1) / FIRST_ROWS) * FIRST_ROWS);
      }
      if (same && before[family] === shown[family]) rows.forEach((row) => showRow(row));
      else build();
      showFamilies();
    };

    // --- Two families ---

    const showFamilies = () => {
      for (const button of root.querySelectorAll("[data-family]")) {
        const moved = rows.filter((row) => row.basis === button.dataset.family && row.strength !== 0).length;
        button.setAttribute("aria-pressed", String(button.dataset.family === family));
        const count = button.querySelector("[data-moved]");
        count.textContent = moved || "";
        count.title = moved ? `${moved} moved` : "";
      }
      for (const words of root.querySelectorAll("[data-about]")) words.hidden = words.dataset.about !== family;
    };
    const choose = (name) => {
      if (name === family || !families[name].length) return;
      family = name;
      build();
      showFamilies();
    };

    // --- Rows ---

    const labelOf = (row) => families[row.basis].find(({ index }) => index === row.component).name;
    const isShown = (row) => row.basis === family && row.component < shown[family];
    const build = () => {
      list.replaceChildren();
      for (const row of rows) {
        delete row.parts;
        if (isShown(row)) list.append(buildRow(row));
      }
      root.querySelector("[data-more]").hidden = shown[family] >= families[family].length;
      setActive(rows.find((row) => row === active && isShown(row)) || rows.find(isShown) || null);
    };

    const buildRow = (row) => {
      const item = template.content.firstElementChild.cloneNode(true);
      const part = (name) => item.querySelector(`[data-${name}]`);
      row.parts = {
        item, name: part("name"), badge: part("badge"), number: part("number"), range: part("range"),
        details: part("details"), toggle: part("toggle"), select: part("select"), custom: part("custom"), from: part("from"), to: part("to"),
      };
      describe(row, part);
      listen(row, part);
      showRow(row);
      return item;
    };

    const describe = (row, part) => {
      const label = labelOf(row);
      const { range, number, select, from, to } = row.parts;
      row.parts.name.textContent = label;
      part("share").textContent = `${(families[row.basis].find(({ index }) => index === row.component).variance * 100).toFixed(1)} %`;
      part("share-of").textContent = row.basis === "factors" ? "of how strongly the model reacts" : "of what differs between the model's pictures";
      range.setAttribute("aria-label", `${label}, strength in sigma`);
      number.setAttribute("aria-label", `${label}, strength in sigma, typed`);
      part("reset").setAttribute("aria-label", `Reset ${label}`);
      select.append(rangeOptions.content.cloneNode(true));
      select.setAttribute("aria-label", `Layers that ${label} acts on`);
      from.max = to.max = layers;
    };

    const listen = (row, part) => {
      const { item, range, number, select, from, to, details, toggle } = row.parts;
      range.addEventListener("input", () => {
        const value = Number(range.value);
        setStrength(row, row.dragging && Math.abs(value) < SNAP_SIGMA ? 0 : value);
      });
      range.addEventListener("change", hooks.commitSoon);
      range.addEventListener("pointerdown", () => (row.dragging = true));
      for (const end of ["pointerup", "pointercancel"]) {
        range.addEventListener(end, () => {
          row.dragging = false;
          hooks.settle();
          hooks.commit();
        });
      }
      range.addEventListener("dblclick", () => resetRow(row));
      number.addEventListener("input", () => {
        if (number.value !== "" && number.validity.valid) setStrength(row, Number(number.value), { typed: true });
      });
      number.addEventListener("change", () => {
        setStrength(row, clamp(Number(number.value) || 0, -LIMIT_SIGMA, LIMIT_SIGMA));
        hooks.commit();
      });
      part("reset").addEventListener("click", () => resetRow(row));
      toggle.addEventListener("click", () => {
        details.hidden = !details.hidden;
        toggle.setAttribute("aria-expanded", String(!details.hidden));
      });
      item.addEventListener("focusin", () => row !== active && setActive(row));
      select.addEventListener("change", () => chooseRange(row, select.value));
      for (const input of [from, to]) input.addEventListener("change", () => typeRange(row));
      part("series").addEventListener("click", () => {
        setActive(row);
        PixelLift.editor.startSeries();
      });
    };

    const after = (row, commit) => {
      showRow(row);
      showFamilies();
      hooks.changed();
      commit();
    };
    const setStrength = (row, value, { typed = false } = {}) => {
      row.strength = Math.round(value * 100) / 100;
      showRow(row, { typed });
      showFamilies();
      hooks.changed();
      hooks.commitSoon();
    };
    const resetRow = (row) => {
      row.dragging = false;
      Object.assign(row, { strength: 0, start: 0, end: layers });
      after(row, hooks.commit);
    };

    const rangeNameOf = (row) => Object.keys(ranges).find((name) => ranges[name][0] === row.start && ranges[name][1] === row.end) || "custom";
    const chooseRange = (row, name) => {
      row.custom = name === "custom";
      if (!row.custom) [row.start, row.end] = ranges[name];
      after(row, hooks.commit);
    };
    const typeRange = (row) => {
      const start = clamp(Math.round(Number(row.parts.from.value) || 1), 1, layers);
      const end = clamp(Math.round(Number(row.parts.to.value) || layers), start, layers);
      Object.assign(row, { start: start - 1, end });
      after(row, hooks.commit);
    };

    const showRow = (row, { typed = false } = {}) => {
      if (!row.parts) return;
      const { item, badge, number, range, select, custom, from, to } = row.parts;
      range.value = row.strength;
      const share = (clamp(row.strength, -REACH_SIGMA, REACH_SIGMA) + REACH_SIGMA) / (2 * REACH_SIGMA);
      range.style.setProperty("--from", `${Math.min(share, 0.5) * 100}%`);
      range.style.setProperty("--to", `${Math.max(share, 0.5) * 100}%`);
      range.setAttribute("aria-valuetext", `${row.strength} sigma`);
      if (!typed) number.value = row.strength;
      item.classList.toggle("slider--moved", row.strength !== 0);
      const name = rangeNameOf(row);
      select.value = row.custom ? "custom" : name;
      custom.hidden = select.value !== "custom";
      from.value = row.start + 1;
      to.value = row.end;
      badge.hidden = name === "all";
      badge.textContent = name === "custom" ? `layers ${row.start + 1}–${row.end}` : name;
    };

    // What is open stays open: rows must not move under a pointer that has just taken a slider.
    const setActive = (row) => {
      for (const other of rows) other.parts?.item.classList.toggle("slider--active", other === row);
      active = row;
      document.dispatchEvent(new CustomEvent("editor-active"));
    };

    root.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-family]");
      if (button) choose(button.dataset.family);
      if (!target.closest("[data-more]")) return;
      const first = shown[family];
      shown[family] += FIRST_ROWS;
      build();
      rows.find((row) => row.basis === family && row.component === first)?.parts?.range.focus();
    });

    return {
      ready,
      edits,
      state,
      put,
      active: () => active,
      label: labelOf,
      resetActive: () => active && resetRow(active),
      take(row, strength) {
        row.strength = Math.round(strength * 100) / 100;
        after(row, hooks.commit);
      },
    };
  };
})();
