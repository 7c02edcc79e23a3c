/* One chart with its title, legend and plot; uPlot draws the lines.
 * Neighbours: `chart_data.js` aligns lines, `chart_options.js` dresses them, `chart_group.js` links
 * charts. It knows nothing of metrics or of where numbers come from. */

import { aligned, last, nearest } from "./chart_data.js";
import { options } from "./chart_options.js";
import { empty, fill, h } from "./dom.js";
import { number } from "./format.js";
import { onTheme } from "./theme.js";

const { uPlot } = window;
const HEIGHT = 186;
const LARGE_HEIGHT = 380;

/** `axis` is one of metrics.AXES; `format` says a y-value, `tools` are buttons in the title. */
export class Chart {
  #plot = null;
  #lines = [];
  #columns = [];
  #shape = "";
  #large = false;
  #endings = [];

  constructor({ title, unit = "", axis, format = number, group = null, logX = false, tools = [] }) {
    Object.assign(this, { title, axis, format, group, logX });
    this.legend = h("ul", { class: "legend", "aria-hidden": "true" });
    this.body = h("div", { class: "plot", role: "img", "aria-label": title });
    this.element = h(
      "figure",
      { class: "chart" },
      h(
        "figcaption",
        {},
        h("h3", {}, title),
        h("span", { class: "unit" }, unit),
        ...tools,
        this.#sizeButton(),
      ),
      this.legend,
      this.body,
    );
    group?.add(this);
    const observer = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
    observer.observe(this.body);
    this.#endings = [() => observer.disconnect(), onTheme(() => this.#draw(true))];
  }

  /** Draw these lines (see chart_data.js), or say in words why there are none. */
  show(lines, why = "No data yet.") {
    this.#lines = lines.filter((line) => last(line.y) !== null);
    this.why = why;
    this.#draw(false);
  }

  /** Draw what the group's zoom leaves of the x-axis. */
  showRange() {
    if (!this.#plot) return;
    const x = this.#plot.data[0];
    const [min, max] = this.group.range ?? [x[0], x.at(-1)];
    this.#plot.setScale("x", { min, max });
  }

  close() {
    this.group?.remove(this);
    this.#plot?.destroy();
    for (const end of this.#endings) end();
  }

  #draw(anew) {
    if (!this.#lines.length) return this.#drawNothing();
    const { data, columns } = aligned(this.#lines);
    this.#columns = columns;
    const shape = JSON.stringify([
      this.#lines.map(({ x, y, low, high, raw, ...rest }) => [rest, !!low]),
      this.axis.label,
    ]);
    if (anew || shape !== this.#shape || !this.#plot) this.#build(data, shape);
    else this.#plot.setData(data);
    this.#say(null);
    this.body.setAttribute("aria-label", this.#inWords());
  }

  #drawNothing() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#shape = "";
    fill(this.legend);
    fill(this.body, empty(this.why));
  }

  #build(data, shape) {
    this.#plot?.destroy();
    fill(this.body);
    this.#shape = shape;
    const { axis, format, logX, group } = this;
    const onCursor = (plot) => this.#say(plot.cursor.idx);
    const all = {
      lines: this.#lines,
      columns: this.#columns,
      axis,
      format,
      logX,
      group,
      onCursor,
      size: this.#size(),
    };
    this.#plot = new uPlot(options(all), data, this.body);
  }

  #size() {
    return {
      width: Math.max(200, this.body.clientWidth),
      height: this.#large ? LARGE_HEIGHT : HEIGHT,
    };
  }

  /** Write the values at `index`, or the last ones, into the legend. */
  #say(index) {
    const data = this.#plot?.data;
    const at =
      index === null || index === undefined
        ? []
        : [h("li", { class: "at" }, `${this.axis.label} ${this.axis.format(data[0][index])}`)];
    const entries = this.#lines.flatMap((line, number) => {
      if (line.faint) return [];
      const value = at.length
        ? this.#valueAt(line, this.#columns[number], index)
        : last(line.raw ?? line.y);
      return [this.#entry(line, value)];
    });
    fill(this.legend, ...entries, ...at);
  }

  #valueAt(line, { y }, index) {
    const x = this.#plot.data[0][index];
    if (line.raw) return line.raw[line.x.indexOf(x)] ?? null;
    return nearest(this.#plot.data[y], index);
  }

  #entry(line, value) {
    const swatch = h("i", {
      class: line.dash ? "swatch dashed" : "swatch",
      style: { "--color": `var(--${line.color})` },
    });
    return h("li", {}, swatch, h("span", {}, line.label), h("b", {}, this.format(value)));
  }

  #inWords() {
    const clear = this.#lines.filter((line) => !line.faint);
    const texts = clear.map((line) => {
      const first = line.y.find((value) => value !== null && value !== undefined);
      const [from, to] = [line.x[0], line.x.at(-1)].map(this.axis.format);
      return `${line.label} from ${this.format(first)} at ${this.axis.label} ${from} to ${this.format(last(line.y))} at ${to}`;
    });
    return `${this.title}: ${texts.join("; ")}`;
  }

  #sizeButton() {
    const button = h(
      "button",
      {
        type: "button",
        class: "icon",
        title: "Larger",
        "aria-label": `${this.title}: larger`,
        "aria-pressed": "false",
      },
      "⤢",
    );
    button.addEventListener("click", () => {
      this.#large = !this.#large;
      this.element.classList.toggle("large", this.#large);
      button.setAttribute("aria-pressed", String(this.#large));
      this.#plot?.setSize(this.#size());
    });
    return button;
  }
}
