/* How good is it? Every benchmark by version with its intervals, the rows of one version, and the
 * scaling-law fit.
 * Neighbours: `evaluation_rows.js` shows what was asked and answered, `scaling.js` the fit. */

import { NotThere, get } from "../api.js";
import { Chart } from "../chart.js";
import { ChartGroup } from "../chart_group.js";
import { empty, fill, h } from "../dom.js";
import { benchmarkTitle, benchmarks, metricsOf, points, withOne } from "../evaluations.js";
import { count, duration, moment, percent } from "../format.js";
import { color } from "../lines.js";
import { AXES, share } from "../metrics.js";
import { link } from "../router.js";
import { table } from "../table.js";
import { mountRows } from "./evaluation_rows.js";
import { mountFits } from "./scaling.js";
import { section } from "./section.js";

/** Draw all benchmarks, or the rows of the benchmark and version in the address. */
export function mount(root, { live, path }) {
  if (path.length >= 2) return mountRows(root, path[0], path[1]);
  const view = new Evaluations(root, live);
  view.load();
  const closeFits = mountFits(view.fits);
  return () => {
    closeFits();
    view.close();
  };
}

class Evaluations {
  #evaluations = [];
  #charts = new Map();
  #group = new ChartGroup();

  constructor(root, live) {
    this.live = live;
    this.list = h("div", { class: "stack" }, empty("Fetching evaluations …"));
    this.fits = h("div", { class: "stack" });
    root.append(h("h1", { class: "unseen" }, "Evaluations"), this.list, this.fits);
    this.onEval = ({ detail }) => {
      this.#evaluations = withOne(this.#evaluations, detail);
      this.#draw();
    };
    this.onBack = () => this.load();
    live.addEventListener("eval", this.onEval);
    live.addEventListener("back", this.onBack);
  }

  async load() {
    try {
      this.#evaluations = (await get("eval/results")).evaluations;
      this.#draw();
    } catch (error) {
      fill(
        this.list,
        empty(error instanceof NotThere ? "This server has no evaluations." : error.message),
      );
    }
  }

  close() {
    this.live.removeEventListener("eval", this.onEval);
    this.live.removeEventListener("back", this.onBack);
    for (const chart of this.#charts.values()) chart.close();
  }

  #draw() {
    const names = benchmarks(this.#evaluations);
    if (!names.length)
      return fill(
        this.list,
        empty(
          "No evaluation has been reported yet. `evaluation.every_steps` says how often; `ralo eval` asks for one.",
        ),
      );
    return fill(this.list, ...names.map((name) => this.#benchmark(name)));
  }

  #benchmark(name) {
    const metrics = metricsOf(this.#evaluations, name);
    const rows = this.#evaluations.filter((one) => one.benchmark === name).reverse();
    const [{ items, samples }] = rows;
    const note = `${count(items)} problems, ${samples === 1 ? "one response" : `${samples} responses`} each`;
    const chart = this.#chart(name);
    chart.show(
      metrics.map((metric, index) => ({
        label: metric,
        color: color(index),
        ...points(this.#evaluations, name, metric),
      })),
    );
    return section(
      benchmarkTitle(name),
      note,
      h("div", { class: "benchmark" }, chart.element, resultTable(name, metrics, rows)),
    );
  }

  #chart(name) {
    if (!this.#charts.has(name)) {
      const options = {
        title: "Scores by step",
        unit: "with 95 % band",
        axis: AXES.step,
        format: share,
        group: this.#group,
      };
      this.#charts.set(name, new Chart(options));
    }
    return this.#charts.get(name);
  }
}

function resultTable(benchmark, metrics, rows) {
  const numbers = metrics.map((metric) => ({
    title: metric,
    number: true,
    hint: "95 % bootstrap interval over the problems",
    cell: (row) => interval(row.metrics[metric]),
  }));
  return table({
    caption: `${benchmarkTitle(benchmark)} by version`,
    rows,
    rowClass: (row) => (row.abandoned ? "gone" : null),
    columns: [
      {
        title: "Version",
        cell: (row) =>
          h(
            "a",
            {
              href: link(["evaluations", benchmark, String(row.version)]),
              title: "Prompts and responses",
            },
            `v${row.version}${row.abandoned ? " (rolled back)" : ""}`,
          ),
      },
      { title: "Step", number: true, cell: (row) => count(row.step) },
      ...numbers,
      { title: "Took", number: true, cell: (row) => duration(row.seconds) },
      { title: "Tokens", number: true, cell: (row) => count(row.tokens) },
      { title: "Time", number: true, cell: (row) => moment(row.time) },
    ],
  });
}

function interval(estimate) {
  if (!estimate) return "–";
  return h(
    "span",
    {},
    h("b", {}, percent(estimate.value)),
    " ",
    h("small", {}, `${(100 * estimate.low).toFixed(1)} – ${(100 * estimate.high).toFixed(1)}`),
  );
}
