/* Is it learning? The run's numbers, and its metrics over steps or time, live.
 * Neighbours: `metrics.js` says which charts there are, `series.js` has the numbers, `lines.js`
 * makes lines of them. */

import { get } from "../api.js";
import { Chart } from "../chart.js";
import { ChartGroup } from "../chart_group.js";
import { h } from "../dom.js";
import { kept } from "../kept.js";
import { evaluationLines, metricLines } from "../lines.js";
import { AXES, CHARTS, pickedChart, present } from "../metrics.js";
import { Series } from "../series.js";
import { axisChoice, chartToolbar, metricPicker, smoothing } from "./chart_tools.js";
import { showTiles } from "./tiles.js";

const REDRAW_MILLISECONDS = 250;

const picked = kept("picked", []);

/** Draw the view into `root` and keep it up to date; return what ends that. */
export function mount(root, { live }) {
  const view = new Learning(root, live);
  view.begin();
  return () => view.close();
}

class Learning {
  #series = new Series();
  #group = new ChartGroup();
  #charts = new Map();
  #available = [];
  #endings = [];
  #timer = null;
  #loading = false;
  #wanted = false;

  constructor(root, live) {
    this.live = live;
    this.tiles = h("dl", { class: "tiles", "aria-label": "The run in numbers" });
    this.grid = h("div", { class: "charts" });
    this.picker = metricPicker((name) => this.#pick(name));
    root.append(h("h1", { class: "unseen" }, "Learning"), this.tiles, this.#tools(), this.grid);
    for (const definition of [...CHARTS, ...picked.get().map(pickedChart)]) this.#add(definition);
    this.#hear("stats", () => this.#later());
    this.#hear("step", ({ detail }) => this.#grow(detail));
    this.#hear("back", () => this.begin());
  }

  /** Fetch the names and the history, and draw. */
  async begin() {
    this.#wanted = true;
    if (this.#loading) return;
    this.#loading = true;
    while (this.#wanted) {
      this.#wanted = false;
      await this.#load();
    }
    this.#loading = false;
    this.#draw();
  }

  async #load() {
    try {
      this.#available = (await get("series/names")).names;
      this.picker.offer(this.#available);
      await this.#series.load(this.#names());
    } catch (error) {
      this.failure = error.message;
    }
  }

  close() {
    clearTimeout(this.#timer);
    for (const { chart } of this.#charts.values()) chart.close();
    for (const end of this.#endings) end();
  }

  #hear(event, listener) {
    this.live.addEventListener(event, listener);
    this.#endings.push(() => this.live.removeEventListener(event, listener));
  }

  #tools() {
    const hint = h("span", { class: "hint" }, "Drag in a chart to zoom, double-click for all.");
    return chartToolbar({
      charts: this.#charts,
      group: this.#group,
      picker: this.picker,
      draw: () => this.#draw(),
      smoothen: () => this.#later(),
      more: [hint],
    });
  }

  #add(definition) {
    const tools = definition.picked ? [this.#removeButton(definition)] : [];
    const chart = new Chart({
      ...definition,
      axis: AXES[axisChoice.get()],
      group: this.#group,
      tools,
    });
    this.#charts.set(definition.key, { definition, chart });
    this.grid.append(chart.element);
  }

  #removeButton({ key, title }) {
    const remove = () => {
      picked.set(picked.get().filter((name) => name !== title));
      this.#charts.get(key).chart.close();
      this.#charts.get(key).chart.element.remove();
      this.#charts.delete(key);
    };
    return h(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": `Remove ${title}`,
        title: "Remove",
        on: { click: remove },
      },
      "×",
    );
  }

  #pick(name) {
    if (picked.get().includes(name)) return;
    picked.set([...picked.get(), name]);
    this.#add(pickedChart(name));
    this.begin();
  }

  #names() {
    const wanted = [...this.#charts.values()].flatMap(
      ({ definition }) => definition.names ?? definition.rates ?? [],
    );
    return [...new Set(["elapsed_seconds", "reward", ...present(wanted, this.#available)])];
  }

  #grow(step) {
    const unknown = Object.keys(step.metrics).some((name) => !this.#available.includes(name));
    if (this.#series.add(step) || unknown) this.begin();
    else this.#later();
  }

  #later() {
    this.#timer ??= setTimeout(() => this.#draw(), REDRAW_MILLISECONDS);
  }

  #draw() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const { stats } = this.live;
    if (stats) showTiles(this.tiles, stats, this.#series.get("reward").at(-1));
    for (const { definition, chart } of this.#charts.values()) {
      chart.show(this.#linesOf(definition, stats?.evaluations ?? []), this.#why(definition));
    }
  }

  #linesOf(definition, evaluations) {
    const byTime = axisChoice.get() === "time";
    if (definition.evaluations) return evaluationLines(evaluations, byTime ? this.#series : null);
    return metricLines(definition, this.#series, {
      byTime,
      weight: smoothing.get(),
      available: this.#available,
    });
  }

  #why({ evaluations, why }) {
    if (this.failure && !this.#series.steps.length) return this.failure;
    if (evaluations) return "No evaluation has been reported yet.";
    return this.#series.steps.length && why ? why : "No data yet: the first step is still to come.";
  }
}
