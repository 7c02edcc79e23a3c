/* Runs of the same directory over each other: which learns faster, which costs less.
 * Neighbours: `/runs` lists them, `/runs/series` has their metrics. */

import { NotThere, get } from "../api.js";
import { Chart } from "../chart.js";
import { ChartGroup } from "../chart_group.js";
import { empty, fill, h } from "../dom.js";
import { count, number, percent } from "../format.js";
import { kept } from "../kept.js";
import { color } from "../lines.js";
import { AXES, COMPARED, pickedChart } from "../metrics.js";
import { Series } from "../series.js";
import { smooth } from "../smoothing.js";
import { table } from "../table.js";
import { axisChoice, chartToolbar, metricPicker, smoothing } from "./chart_tools.js";
import { section } from "./section.js";

const POINTS = 400;
const FIRST_CHOSEN = 4;

const picked = kept("compared", []);

/** Draw the view into `root`; return what ends it. */
export function mount(root) {
  const view = new Compare(root);
  view.begin();
  return () => view.close();
}

class Compare {
  #runs = [];
  #chosen = [];
  #series = new Map();
  #charts = new Map();
  #group = new ChartGroup();

  constructor(root) {
    this.list = h("div", {}, empty("Looking for runs …"));
    this.grid = h("div", { class: "charts" });
    this.picker = metricPicker((name) => this.#pick(name));
    root.append(
      h("h1", { class: "unseen" }, "Compare"),
      section("Runs", "in the same directory", this.list),
      this.#tools(),
      this.grid,
    );
  }

  async begin() {
    try {
      this.#runs = (await get("runs")).runs;
      this.picker.offer((await get("series/names")).names);
    } catch (error) {
      return fill(
        this.list,
        empty(error instanceof NotThere ? "This server does not list other runs." : error.message),
      );
    }
    const first = [...this.#runs].sort((a, b) => b.current - a.current).slice(0, FIRST_CHOSEN);
    this.#chosen = first.map((run) => run.name);
    for (const definition of [...COMPARED, ...picked.get().map(pickedChart)]) this.#add(definition);
    fill(this.list, this.#table());
    return this.#load();
  }

  close() {
    for (const { chart } of this.#charts.values()) chart.close();
  }

  #names() {
    return [
      "elapsed_seconds",
      ...[...this.#charts.values()].flatMap(
        ({ definition }) => definition.names ?? definition.rates,
      ),
    ];
  }

  async #load() {
    await Promise.all(this.#chosen.map((run) => this.#fetch(run)));
    this.#draw();
  }

  async #fetch(run) {
    try {
      this.#series.set(
        run,
        Series.of(
          await get("runs/series", { run, names: this.#names().join(","), points: POINTS }),
        ),
      );
    } catch {
      this.#series.set(run, new Series()); // a run that cannot be read has no line; its state says so
    }
  }

  #add(definition) {
    const chart = new Chart({ ...definition, axis: AXES[axisChoice.get()], group: this.#group });
    this.#charts.set(definition.key, { definition, chart });
    this.grid.append(chart.element);
  }

  #pick(name) {
    if (picked.get().includes(name)) return;
    picked.set([...picked.get(), name]);
    this.#add(pickedChart(name));
    this.#load();
  }

  #draw() {
    const why = this.#chosen.length ? "None of the chosen runs reports it." : "Choose runs above.";
    for (const { definition, chart } of this.#charts.values()) {
      chart.show(
        this.#chosen.map((run) => this.#line(run, definition)),
        why,
      );
    }
  }

  #line(run, { names, rates }) {
    const series = this.#series.get(run) ?? new Series();
    const y = rates ? series.rate(rates[0]) : series.get(names[0]);
    const x = axisChoice.get() === "time" ? series.get("elapsed_seconds") : series.steps;
    return { label: run, color: this.#colorOf(run), x, y: smooth(y, smoothing.get()) };
  }

  #colorOf(run) {
    return color(this.#runs.findIndex((one) => one.name === run));
  }

  #toggle(run, chosen) {
    this.#chosen = chosen ? [...this.#chosen, run] : this.#chosen.filter((other) => other !== run);
    this.#load();
  }

  #tools() {
    return chartToolbar({
      charts: this.#charts,
      group: this.#group,
      picker: this.picker,
      draw: () => this.#draw(),
    });
  }

  #table() {
    const box = (run) => {
      const input = h("input", { type: "checkbox", "aria-label": `Show ${run.name}` });
      input.checked = this.#chosen.includes(run.name);
      input.addEventListener("change", () => this.#toggle(run.name, input.checked));
      return h(
        "label",
        { class: "choice" },
        input,
        h("i", { class: "swatch", style: { "--color": `var(--${this.#colorOf(run.name)})` } }),
        run.name,
        run.current ? h("small", {}, " this run") : null,
      );
    };
    return table({
      caption: "Runs of this directory",
      none: "There is no other run in this directory.",
      rows: this.#runs,
      columns: [
        { title: "Run", cell: box },
        { title: "Recipe", cell: (run) => run.recipe },
        {
          title: "State",
          cell: (run) => h("span", { class: "pill", "data-state": run.state }, run.state),
        },
        { title: "Step", number: true, cell: (run) => count(run.step) },
        { title: "Version", number: true, cell: (run) => count(run.version) },
        { title: "Reward", number: true, cell: (run) => number(run.reward) },
        { title: "Accuracy", number: true, cell: (run) => percent(run.accuracy) },
      ],
    });
  }
}
