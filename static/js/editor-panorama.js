// A panorama: a strip of tiles that scrolls. Only what is on the screen is asked for, and when the hand rests a margin beside it.
// While sliders move the tiles come as drafts; what they replace stays until then, so nothing flickers.
(() => {
  const PixelLift = window.PixelLift;
  const MARGIN_TILES = 2;
  const MOST_TILES = 40; // of one request

  /** `wishes`: request() and untouched(), what is drawn now and what comparing shows; see editor.js. */
  PixelLift.editorPanorama = (root, config, preview, wishes) => {
    const view = root.querySelector("[data-panorama]");
    const strip = view.querySelector("[data-strip]");
    const place = root.querySelector("[data-place]");
    const keys = new Map(); // seq: the wish that it asked for, as text
    const tiles = []; // {canvas, drawings: {wish: {bitmap, exact}}, shown}
    let size = null; // {tile_px, height_px, max_px}
    let tileWidth = 0; // of a tile on the screen, in whole CSS pixels: seams would show between fractions
    let comparing = false;
    const keyOf = (wish) => JSON.stringify(wish);
    const wish = () => (comparing ? wishes.untouched() : wishes.request());

    // --- Where things are ---

    const layOut = () => {
      if (!size) return;
      const left = leftPx();
      tileWidth = Math.max(1, Math.round((size.tile_px * view.clientHeight) / size.height_px));
      strip.style.inlineSize = `${tileWidth * Math.floor(size.max_px / size.tile_px)}px`;
      tiles.forEach((tile, index) => putInPlace(tile, index));
      view.scrollLeft = (left / size.tile_px) * tileWidth;
      ask();
    };
    const putInPlace = (tile, index) => {
      tile.canvas.style.insetInlineStart = `${index * tileWidth}px`;
      tile.canvas.style.inlineSize = `${tileWidth}px`;
    };
    const leftPx = () => (tileWidth ? Math.round((view.scrollLeft / tileWidth) * size.tile_px) : wantedLeft);
    const widthPx = () => Math.min(Math.round((view.clientWidth / tileWidth) * size.tile_px), size.max_px);
    let wantedLeft = config.left || 0;

    /** The tiles on the screen, those in its middle first, and then the margin. */
    const near = (margin) => {
      const last = Math.floor(size.max_px / size.tile_px) - 1;
      const from = Math.floor(view.scrollLeft / tileWidth);
      const to = Math.min(last, Math.floor((view.scrollLeft + view.clientWidth - 1) / tileWidth));
      const middle = (from + to) / 2;
      const all = [];
      for (let index = Math.max(0, from - margin); index <= Math.min(last, to + margin); index += 1) all.push(index);
      return all.sort((one, other) => Math.abs(one - middle) - Math.abs(other - middle)).slice(0, MOST_TILES);
    };

    // --- Tiles ---

    const tileOf = (index) => {
      if (!tiles[index]) {
        const canvas = document.createElement("canvas");
        canvas.width = size.tile_px;
        canvas.height = size.height_px;
        tiles[index] = { canvas, drawings: {}, shown: null };
        putInPlace(tiles[index], index);
        strip.append(canvas);
      }
      return tiles[index];
    };
    const paint = (tile, drawing) => {
      if (!drawing || tile.shown === drawing) return;
      const context = tile.canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(drawing.bitmap, 0, 0, size.tile_px, size.height_px);
      tile.shown = drawing;
      tile.canvas.dataset.drawn = drawing.exact ? "exact" : "draft";
    };
    const paintAll = () => {
      const key = keyOf(wish());
      for (const tile of tiles) if (tile) paint(tile, tile.drawings[key]);
    };

    preview.shape = (request, exact) => {
      if (!size) return null;
      const key = keyOf(request);
      const missing = near(exact ? MARGIN_TILES : 0).filter((index) => {
        const drawing = tiles[index]?.drawings[key];
        return !drawing || (exact && !drawing.exact);
      });
      return missing.length ? { type: "panorama", ...request, tiles: missing, exact } : null;
    };
    preview.addEventListener("asked", ({ detail: { seq, message } }) => {
      for (const old of keys.keys()) if (old < seq - 20) keys.delete(old);
      const { type, tiles: _, exact, ...asked } = message;
      keys.set(seq, keyOf(asked));
    });
    preview.addEventListener("tile", ({ detail: { seq, tile: index, exact, bitmap } }) => {
      const key = keys.get(seq);
      const tile = tileOf(index);
      if (!key || tile.drawings[key]?.exact) return bitmap.close();
      const wanted = keyOf(wish());
      const kept = new Set([key, wanted, keyOf(wishes.untouched()), keyOf(wishes.request())]);
      for (const [old, drawing] of Object.entries(tile.drawings)) {
        if (kept.has(old) && old !== key) continue;
        drawing.bitmap.close();
        delete tile.drawings[old];
      }
      tile.drawings[key] = { bitmap, exact };
      // What was overtaken by a newer wish is still better than what is older.
      if (key === wanted || !tile.drawings[wanted]) paint(tile, tile.drawings[key]);
    });

    // --- Scrolling: the browser scrolls by touch and bar; wheel, keys and a drag of the mouse are ours ---

    let asking = 0;
    const ask = () => {
      cancelAnimationFrame(asking);
      asking = requestAnimationFrame(() => {
        tell();
        preview.render(wish());
      });
    };
    const tell = () => {
      const from = leftPx();
      place.textContent = `${from.toLocaleString("en")} to ${Math.min(from + widthPx(), size.max_px).toLocaleString("en")} of ${size.max_px.toLocaleString("en")} pixels`;
    };
    view.addEventListener("scroll", ask, { passive: true });
    view.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
        const end = view.scrollWidth - view.clientWidth;
        if (event.deltaY < 0 ? view.scrollLeft <= 0 : view.scrollLeft >= end - 1) return;
        event.preventDefault();
        view.scrollLeft += event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 24 : event.deltaY;
      },
      { passive: false },
    );
    let drag = null;
    view.addEventListener("pointerdown", (event) => {
      if (event.button || event.pointerType !== "mouse" || event.offsetY > view.clientHeight) return;
      drag = { x: event.clientX, left: view.scrollLeft };
      view.setPointerCapture(event.pointerId);
      view.classList.add("panorama--dragged");
    });
    view.addEventListener("pointermove", (event) => drag && (view.scrollLeft = drag.left + drag.x - event.clientX));
    for (const end of ["pointerup", "pointercancel"]) {
      view.addEventListener(end, () => {
        drag = null;
        view.classList.remove("panorama--dragged");
      });
    }
    view.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const to = {
        ArrowLeft: view.scrollLeft - tileWidth / 2,
        ArrowRight: view.scrollLeft + tileWidth / 2,
        PageUp: view.scrollLeft - view.clientWidth * 0.9,
        PageDown: view.scrollLeft + view.clientWidth * 0.9,
        Home: 0,
        End: view.scrollWidth,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      view.scrollTo({ left: to, behavior: event.repeat || PixelLift.reducedMotion() ? "instant" : "smooth" });
    });
    new ResizeObserver(layOut).observe(view);

    return {
      ready({ panorama }) {
        size = panorama;
        layOut();
        wantedLeft = 0;
      },
      /** What is on the screen, in pixels of the panorama: {left, width}. */
      window: () => size && { left: leftPx(), width: widthPx() },
      compare(on) {
        comparing = on;
        paintAll();
        preview.render(wish());
      },
      handles: [],
    };
  };
})();
