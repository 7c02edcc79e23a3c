/* Metrics over steps: fetched thinned, then grown by the steps that arrive.
 * Neighbours: `api.js`, `live.js`; charts read the columns. It does not smooth and draws nothing. */

import { get } from "./api.js";

const POINTS = 500;
const MOST_NEW = 500; // after so many steps of its own it asks for a thinned history again

/** Columns of equal length: `steps`, and one of numbers or nulls for each name. */
export class Series {
  steps = [];
  columns = {};
  #names = [];
  #added = 0;
  #last = 0;

  /** Return the series of an answer of `/series` or `/runs/series`. */
  static of({ steps, series }) {
    return Object.assign(new Series(), { steps, columns: series });
  }

  /** Fetch the history of `names`; what was known before stays when that fails. */
  async load(names) {
    const answer = await get("series", { names: names.join(","), points: POINTS });
    this.#names = names;
    this.#added = 0;
    this.#last = answer.last_step;
    this.steps = answer.steps;
    this.columns = answer.series;
  }

  /** Append a step as the stream tells it; return whether the history should be loaded again:
   * some steps before it are not known, or there have become many. */
  add({ step, metrics }) {
    if (step <= this.#last) return false;
    if (step > this.#last + 1) return true;
    this.#last = step;
    this.steps.push(step);
    for (const name of this.#names)
      column(this.columns, name, this.steps.length - 1).push(metrics[name] ?? null);
    this.#added += 1;
    return this.#added > MOST_NEW;
  }

  /** Return a column; nulls where the run does not report it. */
  get(name) {
    return this.columns[name] ?? this.steps.map(() => null);
  }

  /** Return what was counted per second between one point and the next, from a metric that
   * counts per step. */
  rate(name) {
    const elapsed = this.get("elapsed_seconds");
    const amounts = this.get(name);
    return this.steps.map((step, index) => {
      const before = index ? this.steps[index - 1] : 0;
      const seconds = elapsed[index] - (index ? elapsed[index - 1] : 0);
      const unknown = amounts[index] === null || elapsed[index] === null || seconds <= 0;
      return unknown ? null : (amounts[index] * (step - before)) / seconds;
    });
  }

  /** Return the run's seconds at a step, between the points in proportion. */
  secondsAt(step) {
    return interpolate(this.steps, this.get("elapsed_seconds"), step);
  }
}

/** Return y at x on the line through the points, at its ends the line to the origin or the last. */
export function interpolate(xs, ys, x) {
  const right = xs.findIndex((other) => other >= x);
  if (right < 0) return ys.at(-1) ?? null;
  const [x0, y0] = right ? [xs[right - 1], ys[right - 1]] : [0, 0];
  return xs[right] === x0 ? ys[right] : y0 + ((ys[right] - y0) * (x - x0)) / (xs[right] - x0);
}

function column(columns, name, length) {
  columns[name] ??= new Array(length).fill(null);
  return columns[name];
}
