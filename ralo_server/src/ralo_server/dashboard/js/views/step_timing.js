/* The time of the optimizer's steps, as a chart, and the learner's busy share out of it.
 * Neighbours: `system.js` shows it, `series.js` has the numbers. */

import { get } from "../api.js";
import { Chart } from "../chart.js";
import { last } from "../chart_data.js";
import { ChartGroup } from "../chart_group.js";
import { duration } from "../format.js";
import { color } from "../lines.js";
import { AXES } from "../metrics.js";
import { Series } from "../series.js";

/** The optimizer's steps over time, by part where the learner tells the parts. */
export class StepTiming {
  #series = new Series();
  #names = ["step_seconds"];

  constructor() {
    this.chart = new Chart({
      title: "Optimizer step",
      unit: "seconds",
      axis: AXES.step,
      format: duration,
      group: new ChartGroup(),
    });
  }

  async load() {
    try {
      const { names } = await get("series/names");
      const parts = names.filter((name) => /^step\/.*_seconds$/.test(name));
      this.#names = parts.length ? parts : ["step_seconds"];
      await this.#series.load(["elapsed_seconds", "step_seconds", ...parts]);
      this.#draw();
    } catch (error) {
      this.chart.show([], error.message);
    }
  }

  grow(step) {
    if (this.#series.add(step)) this.load();
    else this.#draw();
  }

  /** Return the share of the last twenty steps' time that went into the steps themselves. */
  learnerShare() {
    const { steps } = this.#series;
    const from = Math.max(0, steps.length - 21);
    const elapsed = this.#series.get("elapsed_seconds").slice(from);
    const seconds = this.#series.get("step_seconds").slice(from + 1);
    const between = (last(elapsed) ?? 0) - (elapsed[0] ?? 0);
    if (!between) return null;
    return Math.min(
      1,
      seconds.reduce(
        (sum, one, index) => sum + one * (steps[from + 1 + index] - steps[from + index]),
        0,
      ) / between,
    );
  }

  #draw() {
    this.chart.show(stacked(this.#names, this.#series), "No step has been taken yet.");
  }
}

/** Return lines that stand on each other: each band is one part of the step. */
function stacked(names, series) {
  let low = series.steps.map(() => 0);
  return names.map((name, index) => {
    const raw = series.get(name);
    const high = raw.map((value, at) => low[at] + (value ?? 0));
    const line = {
      label: partName(name),
      color: color(index),
      x: series.steps,
      y: high,
      low,
      high,
      raw,
    };
    low = high;
    return line;
  });
}

function partName(name) {
  if (name === "step_seconds") return "whole step";
  const part = name.slice("step/".length, -"_seconds".length);
  return part === "step" ? "optimizer" : part.replaceAll("_", " ");
}
