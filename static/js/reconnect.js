// When a lost socket is opened again: soon at first, then less often, and each page at a time of its own. The sockets of
// jobs and of the editor both follow it, so that three seconds after the server is back all pages know the truth again.
(() => {
  const FIRST_DELAY_MS = 500;
  const LONGEST_DELAY_MS = 2_000;

  class Reconnection {
    #connect;
    #delay = FIRST_DELAY_MS;
    #timer = 0;

    constructor(connect) {
      this.#connect = connect;
    }

    /** The socket was lost: connect after half to all of a delay, which doubles with each loss. */
    later() {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(this.#connect, this.#delay * (0.5 + Math.random() / 2));
      this.#delay = Math.min(this.#delay * 2, LONGEST_DELAY_MS);
    }

    /** Something says that it may work now: connect at once, and begin again with the first delay. */
    now() {
      this.worked();
      this.#connect();
    }

    /** The server has answered. */
    worked() {
      this.#delay = FIRST_DELAY_MS;
    }

    /** Somebody connects already. */
    cancel() {
      clearTimeout(this.#timer);
    }
  }

  window.PixelLift.Reconnection = Reconnection;
})();
