/* The scaling-law fit of an evaluation over compute, with its band, or why there is none. */

import { get } from "../api.js";
import { Chart } from "../chart.js";
import { empty, fill, h } from "../dom.js";
import { benchmarkTitle } from "../evaluations.js";
import { number, percent } from "../format.js";
import { share } from "../metrics.js";
import { pairs } from "../table.js";
import { section } from "./section.js";

const COMPUTE = {
  label: "compute",
  name: "compute in device-seconds",
  format: (value) => `${number(value)} s`,
  tick: number,
};

const PARAMETERS = {
  A: ["Asymptote A", percent],
  R0: ["Start R0", percent],
  C_mid: ["Midpoint C_mid", (value) => `${number(value)} device-seconds`],
  B: ["Exponent B", number],
};

/** Draw the fits into `root`; nothing where the server has none. Return what ends it. */
export function mountFits(root) {
  const charts = [];
  fill(root, empty("Fitting the scaling law …"));
  get("eval/fit").then(
    ({ fits }) => fill(root, ...fits.map((fit) => fitSection(fit, charts))),
    () => fill(root), // an older server: there is no such part
  );
  return () => charts.forEach((chart) => chart.close());
}

function fitSection(fit, charts) {
  const chart = new Chart({
    title: `${fit.metric} over compute`,
    unit: "with 95 % band",
    axis: COMPUTE,
    format: share,
    logX: true,
  });
  charts.push(chart);
  chart.show(fitLines(fit), "No evaluation with compute yet.");
  const side = fit.fit
    ? parameters(fit.fit)
    : h("p", { class: "verdict" }, `No fit: ${fit.refused}`);
  return section(
    `Scaling law: ${benchmarkTitle(fit.benchmark)}`,
    "R(C) = R0 + (A − R0) / (1 + (C_mid / C)^B)",
    h("div", { class: "benchmark" }, chart.element, side),
  );
}

function fitLines({ points, curve = [] }) {
  const column = (rows, index) => rows.map((row) => row[index]);
  const measured = points.filter(([compute]) => compute > 0);
  const lines = [
    { label: "measured", color: "c2", x: column(measured, 0), y: column(measured, 1), dots: true },
  ];
  if (curve.length)
    lines.unshift({
      label: "fit",
      color: "c1",
      x: column(curve, 0),
      y: column(curve, 1),
      low: column(curve, 2),
      high: column(curve, 3),
    });
  return lines;
}

function parameters(fit) {
  return pairs(
    Object.entries(PARAMETERS)
      .filter(([name]) => fit[name])
      .map(([name, [title, format]]) => [
        title,
        h(
          "span",
          {},
          h("b", {}, format(fit[name].value)),
          " ",
          h("small", {}, `${format(fit[name].low)} – ${format(fit[name].high)}`),
        ),
      ]),
  );
}
