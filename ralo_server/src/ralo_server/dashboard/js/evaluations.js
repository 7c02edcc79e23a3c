/* Evaluations of versions as series: which benchmarks and metrics there are, and their points.
 * Neighbours: `/stats` and `/eval/results` give the rows, charts and tables draw them. */

/** Return the benchmarks of `evaluations`, the run's own held-out problems first. */
export function benchmarks(evaluations) {
  const names = [...new Set(evaluations.map((one) => one.benchmark))].sort();
  return names.sort((a, b) => (b === "held_out") - (a === "held_out"));
}

/** Return the metrics that a benchmark has, accuracy first. */
export function metricsOf(evaluations, benchmark) {
  const rows = evaluations.filter((one) => one.benchmark === benchmark);
  const names = [...new Set(rows.flatMap((one) => Object.keys(one.metrics)))];
  return names.sort((a, b) => (b === "accuracy") - (a === "accuracy"));
}

/** Return { x: steps, y, low, high } of one metric of one benchmark by step, without what a
 * rollback has given up. */
export function points(evaluations, benchmark, metric) {
  const rows = evaluations
    .filter((one) => one.benchmark === benchmark && one.metrics[metric] && !one.abandoned)
    .sort((a, b) => a.step - b.step);
  const of = (part) => rows.map((one) => one.metrics[metric][part]);
  return { x: rows.map((one) => one.step), y: of("value"), low: of("low"), high: of("high") };
}

/** Return `evaluations` with `one` in place of what is of the same version and benchmark. */
export function withOne(evaluations, one) {
  const others = evaluations.filter(
    (other) => other.version !== one.version || other.benchmark !== one.benchmark,
  );
  return [...others, one].sort((a, b) => a.version - b.version);
}

/** "held_out" as "held out". */
export function benchmarkTitle(name) {
  return name === "held_out" ? "held out" : name;
}
