/* What the server says of itself, as it says it: the newest stats, steps and evaluations, and
 * whether the connection stands.
 * Neighbours: `event_stream.js` reads the stream, views listen. It draws nothing. */

import { LoginNeeded, get, open } from "./api.js";
import { readEvents } from "./event_stream.js";

const SILENCE_SECONDS = 45; // the server sends a comment every 15
const FIRST_WAIT = 1;
const LONGEST_WAIT = 30;

/** Events: "stats" (see `stats`), "step" and "eval" (in `detail`), "connection" (see
 * `connection`), "back" when it stands again after it did not. */
export class Live extends EventTarget {
  stats = null;
  /** state: "connecting", "live", "away", "paused" or "ended"; since: when it became so. */
  connection = { state: "connecting", since: Date.now(), reason: "" };
  #stop = null;
  #wake = () => {};

  /** Follow the run until `stop`; it can be started again. */
  start() {
    this.stop();
    this.#stop = new AbortController();
    this.#follow(this.#stop.signal);
  }

  stop() {
    this.#stop?.abort();
    this.#stop = null;
    this.#wake();
  }

  /** Hang up while nobody looks; `start` goes on. */
  pause() {
    if (this.connection.state === "ended") return;
    this.stop();
    this.#became("paused");
  }

  /** Do not wait for the next try. */
  retryNow() {
    this.#wake();
  }

  async #follow(signal) {
    let wait = FIRST_WAIT;
    while (!signal.aborted) {
      try {
        if (await this.#listen(signal, () => (wait = FIRST_WAIT))) return;
      } catch (error) {
        if (signal.aborted || error instanceof LoginNeeded) return;
        this.#became("away", { reason: error.message, retryAt: Date.now() + 1000 * wait });
      }
      await this.#sleep(wait * (0.8 + 0.4 * Math.random()));
      wait = Math.min(2 * wait, LONGEST_WAIT);
    }
  }

  /** Return true when the run has ended, false when the connection has. */
  async #listen(signal, onLife) {
    const response = await this.#openStream(signal);
    this.#became("live");
    for await (const { event, data } of readEvents(response.body, SILENCE_SECONDS)) {
      if (signal.aborted) return true;
      onLife();
      if (event === "end") {
        await this.#lastWords(signal);
        return true;
      }
      if (data) this.#hear(event, JSON.parse(data));
    }
    return false;
  }

  /** Where the server has no place for another listener, what it says to each try is shown. */
  async #openStream(signal) {
    try {
      return await open("events", {}, { signal });
    } catch (error) {
      if (!(error instanceof LoginNeeded) && !signal.aborted)
        this.#hear("stats", await get("stats", {}, { signal }));
      throw error;
    }
  }

  async #lastWords(signal) {
    try {
      this.#hear("stats", await get("stats", {}, { signal }));
    } catch {
      // The server may go as soon as the run is over; what was heard last stays.
    }
    this.#became("ended");
  }

  #hear(event, data) {
    if (event === "stats") this.stats = { ...this.stats, ...data };
    this.dispatchEvent(new CustomEvent(event, { detail: data }));
  }

  #became(state, more = {}) {
    const before = this.connection;
    const since = before.state === state ? before.since : Date.now();
    this.connection = { state, since, reason: "", ...more };
    this.dispatchEvent(new CustomEvent("connection"));
    const missed = before.state === "away" || before.state === "paused";
    if (state === "live" && missed) this.dispatchEvent(new CustomEvent("back"));
  }

  #sleep(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * seconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
