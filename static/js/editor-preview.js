// The editor's line to the engine: one render in flight, the newest request waits, all others are forgotten.
// PixelLift.Preview is an EventTarget; it fires: ready, unavailable, asked, frame, tile, series, export, refused, state.
(() => {
  const REST_MS = 160;
  const ANSWER_WITHIN_MS = 20_000;
  const FRAME = 1;
  const SERIES = 2;
  const EXPORT = 3;
  const PANORAMA = 4;
  const HEADER_BYTES = 8;
  const SIGNED_OUT = 4401;
  const NOT_YOURS = 4404;

  class Preview extends EventTarget {
    #url;
    #socket = null;
    #seq = 0;
    #shown = 0;
    #inFlight = null; // {seq, sent, exact, left}: left counts the frames that are still to come
    #wanted = null; // what to draw next: {request, exact}
    #latest = null; // what was asked for last: drawn again, exactly, when the hand rests
    #ready = false;
    #restTimer = 0;
    #answerTimer = 0;
    #reconnection = new window.PixelLift.Reconnection(() => this.connect());
    #closed = false;

    /** The message for a request; null if there is nothing to draw. A panorama puts its own in place. */
    shape = (request, exact) => ({ type: "render", ...request, exact });

    constructor(path) {
      super();
      this.#url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
      window.addEventListener("online", () => this.#reconnection.now());
      window.addEventListener("pagehide", () => {
        this.#closed = true;
        this.#socket?.close();
      });
      window.addEventListener("pageshow", (event) => {
        this.#closed = false;
        if (event.persisted) this.#reconnection.now();
      });
      document.addEventListener("visibilitychange", () => {
        if (!document.hidden) this.#reconnection.now();
      });
    }

    connect() {
      this.#reconnection.cancel();
      if (this.#closed || (this.#socket && this.#socket.readyState <= WebSocket.OPEN)) return;
      this.#tell("connecting");
      const socket = new WebSocket(this.#url);
      socket.binaryType = "arraybuffer";
      this.#socket = socket;
      socket.addEventListener("message", (event) => {
        if (socket === this.#socket) this.#receive(event.data);
      });
      socket.addEventListener("close", (event) => {
        if (socket === this.#socket) this.#lost(event.code);
      });
    }

    /** Draw this: {edits, noise_mode, ...}. Sent at once if nothing is in flight, else when that has landed. */
    render(request) {
      this.#latest = request;
      this.#wanted = { request, exact: false };
      this.#pump();
      clearTimeout(this.#restTimer);
      this.#restTimer = setTimeout(() => this.settle(), REST_MS);
    }

    /** The hand rests: draw what was asked for last once more, exactly. */
    settle() {
      clearTimeout(this.#restTimer);
      if (!this.#latest) return;
      this.#wanted = { request: this.#latest, exact: true };
      this.#pump();
    }

    series(request) {
      return this.#send({ type: "series", ...request });
    }

    export(request) {
      return this.#send({ type: "export", ...request });
    }

    get connected() {
      return this.#ready;
    }

    #pump() {
      if (!this.#ready || !this.#wanted || (this.#inFlight && !this.#givesWay())) return;
      const { request, exact } = this.#wanted;
      this.#wanted = null;
      const message = this.shape(request, exact);
      if (!message) return;
      const seq = this.#send(message);
      if (!seq) return;
      this.#inFlight = { seq, sent: performance.now(), exact, left: message.tiles?.length || 1 };
      this.#fire("asked", { seq, message });
      this.#expectAnswer();
    }

    /** Many exact tiles are in flight, and the hand moves again: the server drops them for what comes next. */
    #givesWay() {
      return this.#inFlight.exact && !this.#wanted.exact && this.#inFlight.left > 1;
    }

    #expectAnswer() {
      clearTimeout(this.#answerTimer);
      this.#answerTimer = setTimeout(() => this.#socket?.close(), ANSWER_WITHIN_MS);
    }

    #send(message) {
      if (!this.#ready || this.#socket.readyState !== WebSocket.OPEN) return 0;
      this.#seq += 1;
      this.#socket.send(JSON.stringify({ ...message, seq: this.#seq }));
      return this.#seq;
    }

    #receive(data) {
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#see(data);
    }

    #hear(message) {
      if (message.type === "ready") {
        this.#ready = true;
        this.#reconnection.worked();
        this.#tell("connected");
        this.#fire("ready", message);
        if (this.#latest && !this.#wanted) this.#wanted = { request: this.#latest, exact: true };
        this.#pump();
      } else if (message.type === "unavailable") {
        this.#fire("unavailable", message);
      } else if (message.type === "error") {
        if (this.#inFlight && (message.seq === this.#inFlight.seq || message.seq == null)) this.#landed();
        if (message.retry_seconds) this.#askAgain(message.retry_seconds);
        this.#fire("refused", message);
      }
    }

    /** Nobody could draw it at the moment: the same once more, unless something newer is asked for first. */
    #askAgain(seconds) {
      clearTimeout(this.#restTimer);
      this.#restTimer = setTimeout(() => this.settle(), seconds * 1000);
    }

    #see(buffer) {
      const view = new DataView(buffer);
      const kind = view.getUint8(0);
      const seq = view.getUint32(1);
      const index = view.getUint8(5);
      const total = view.getUint8(6);
      const exact = Boolean(view.getUint8(7) & 1);
      const blob = new Blob([new Uint8Array(buffer, HEADER_BYTES)]);
      if (kind === FRAME) this.#frame(seq, exact, blob);
      else if (kind === PANORAMA) this.#tile(seq, index, exact, blob);
      else if (kind === SERIES) this.#fire("series", { seq, index, total, blob });
      else if (kind === EXPORT) this.#fire("export", { seq, blob });
    }

    async #frame(seq, exact, blob) {
      const asked = this.#inFlight?.seq === seq ? this.#inFlight : null;
      if (asked && exact && !this.#wanted) clearTimeout(this.#restTimer);
      if (asked) this.#landed();
      let bitmap;
      try {
        bitmap = await createImageBitmap(blob);
      } catch {
        return; // A frame that cannot be read: the next one follows.
      }
      if (seq <= this.#shown) return;
      this.#shown = seq;
      this.#fire("frame", { seq, exact, bitmap, milliseconds: asked ? performance.now() - asked.sent : null });
    }

    async #tile(seq, tile, exact, blob) {
      const asked = this.#inFlight?.seq === seq ? this.#inFlight : null;
      const milliseconds = asked ? performance.now() - asked.sent : null;
      if (asked) {
        asked.left -= 1;
        if (asked.left > 0) this.#expectAnswer();
        else this.#landed();
      }
      const bitmap = await createImageBitmap(blob).catch(() => null);
      if (bitmap) this.#fire("tile", { seq, tile, exact, bitmap, milliseconds });
    }

    #landed() {
      clearTimeout(this.#answerTimer);
      this.#inFlight = null;
      if (this.#wanted) this.#pump();
    }

    #lost(code) {
      this.#ready = false;
      this.#inFlight = null;
      this.#socket = null;
      clearTimeout(this.#answerTimer);
      if (this.#closed) return;
      if (code === SIGNED_OUT) return this.#tell("signed-out");
      if (code === NOT_YOURS) return this.#tell("gone");
      this.#tell("lost");
      this.#reconnection.later();
    }

    #tell(state) {
      this.#fire("state", state);
    }

    #fire(name, detail) {
      this.dispatchEvent(new CustomEvent(name, { detail }));
    }
  }

  window.PixelLift.Preview = Preview;
})();
