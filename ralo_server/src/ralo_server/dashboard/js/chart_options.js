/* What uPlot is told of a chart: axes, lines, bands, cursor, in the colours of the theme.
 * Neighbour: `chart.js`. */

import { number, ticks } from "./format.js";

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/** Return the value of a CSS custom property, for the canvas. */
export function colorOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Return uPlot's options for `lines` at their `columns` of the data. */
export function options({ lines, columns, axis, format, logX, group, onCursor, size }) {
  return {
    ...size,
    padding: [10, 12, 0, 0],
    legend: { show: false },
    series: [{}, ...lines.flatMap((line, index) => seriesOf(line, columns[index]))],
    bands: lines.flatMap((line, index) => bandOf(line, columns[index])),
    scales: {
      x: { time: false, distr: logX ? 3 : 1, range: xRange(group, logX) },
      y: { range: yRange },
    },
    axes: [xAxis(axis), yAxis(format)],
    cursor: cursor(group),
    hooks: { setCursor: [onCursor], setSelect: [(plot) => zoomTo(plot, group)] },
  };
}

function seriesOf(line, at) {
  const color = colorOf(line.color);
  const own = {
    label: line.label,
    stroke: line.faint ? translucent(color, 0.3) : color,
    width: line.dots ? 0 : line.faint ? 1 : 1.75,
    dash: line.dash ? [5, 4] : undefined,
    points: line.dots ? { show: true, size: 6, fill: color, width: 0 } : { size: 4 },
    spanGaps: true,
  };
  if (line.faint || line.raw) own.points = { show: false };
  const edge = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
  return at.low ? [own, edge, edge] : [own];
}

function bandOf(line, at) {
  const strength = line.raw ? 0.55 : 0.16;
  return at.low
    ? [{ series: [at.high, at.low], fill: translucent(colorOf(line.color), strength) }]
    : [];
}

function xRange(group, logX) {
  return (plot, from, to) => {
    if (group?.range) return group.range;
    if (from === null) return [0, 1];
    if (logX) return [from / 1.15, to * 1.15];
    return from === to ? [from - 1, to + 1] : [from, to];
  };
}

/** Leave a tenth of air above and below; a flat line stands in the middle. */
function yRange(plot, from, to) {
  if (from === null) return [0, 1];
  const air = (to - from) * 0.1 || Math.abs(from) * 0.1 || 1;
  const bottom = from >= 0 && from - air < 0 ? 0 : from - air;
  return [bottom, to + air];
}

function xAxis(axis) {
  return {
    ...lines(),
    size: 24,
    gap: 4,
    space: 64,
    label: axis.name ?? axis.label,
    labelFont: FONT,
    labelSize: 15,
    labelGap: 0,
    values: (plot, values) => values.map((value) => (value === null ? "" : axis.tick(value))),
    incrs: axis.label === "time" ? SECONDS : undefined,
  };
}

const SECONDS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400,
];

function yAxis(format) {
  return {
    ...lines(),
    size: 54,
    gap: 4,
    space: 28,
    values: (plot, values) =>
      format === number ? ticks(values) : values.map((value) => format(value)),
  };
}

function lines() {
  const line = colorOf("line");
  return {
    font: FONT,
    stroke: colorOf("muted"),
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1, size: 4 },
    border: { show: false },
  };
}

function cursor(group) {
  return {
    y: false,
    points: { size: 7 },
    drag: { x: true, y: false, setScale: false },
    bind: { dblclick: () => () => group?.reset() },
    sync: group && {
      key: group.key,
      scales: ["x", null],
      filters: { pub: (type) => type.startsWith("mouse") && !/down|up/.test(type) },
    },
  };
}

function zoomTo(plot, group) {
  const { left, width } = plot.select;
  if (!group || width < 6) return;
  const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
  plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  group.zoom(...range);
}

function translucent(color, alpha) {
  const share = Math.round(255 * alpha)
    .toString(16)
    .padStart(2, "0");
  return color.startsWith("#") ? `${color}${share}` : color;
}
