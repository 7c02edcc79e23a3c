/* Charts that are looked at together: one cursor, one zoomed part of the x-axis.
 * Neighbour: `chart.js` draws one of them. */

let groups = 0;

/** Cursors are linked by `key`; `range` is [from, to] of the x-axis while it is zoomed. */
export class ChartGroup extends EventTarget {
  key = `charts-${(groups += 1)}`;
  range = null;
  #charts = new Set();

  add(chart) {
    this.#charts.add(chart);
  }

  remove(chart) {
    this.#charts.delete(chart);
  }

  /** Show only this part of the x-axis in every chart. */
  zoom(from, to) {
    this.#show([from, to]);
  }

  /** Show all of the x-axis again. */
  reset() {
    if (this.range) this.#show(null);
  }

  #show(range) {
    this.range = range;
    for (const chart of this.#charts) chart.showRange();
    this.dispatchEvent(new CustomEvent("zoom"));
  }
}
