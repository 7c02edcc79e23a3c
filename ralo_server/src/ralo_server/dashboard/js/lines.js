/* Lines of a chart (see chart_data.js) out of series and evaluations.
 * Neighbours: `series.js`, `evaluations.js`; the views hand the lines to `chart.js`. */

import { benchmarkTitle, benchmarks, metricsOf, points } from "./evaluations.js";
import { label, present } from "./metrics.js";
import { smooth } from "./smoothing.js";

const COLORS = 8;

/** Return the name of the colour of line number `index`. */
export function color(index) {
  return `c${1 + (index % COLORS)}`;
}

/** Return the lines of the metrics of one chart: each raw and faint, and smoothed over it. */
export function metricLines({ names, rates }, series, { byTime, weight, available }) {
  const x = byTime ? series.get("elapsed_seconds") : series.steps;
  const values = rates ? (name) => series.rate(name) : (name) => series.get(name);
  return present(names ?? rates, available).flatMap((name, index) => {
    const y = values(name);
    const line = { label: label(name), color: color(index), x, y: smooth(y, weight) };
    return weight ? [{ ...line, y, faint: true }, line] : [line];
  });
}

/** Return a line with its band for each benchmark's first metric; with `series` over time. */
export function evaluationLines(evaluations, series = null) {
  return benchmarks(evaluations).map((benchmark, index) => {
    const metric = metricsOf(evaluations, benchmark)[0];
    const line = points(evaluations, benchmark, metric);
    const name = metric === "accuracy" ? "" : ` ${metric}`;
    return {
      ...line,
      x: series ? line.x.map((step) => series.secondsAt(step)) : line.x,
      label: benchmarkTitle(benchmark) + name,
      color: color(index),
    };
  });
}
