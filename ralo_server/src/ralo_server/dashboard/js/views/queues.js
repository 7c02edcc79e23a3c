/* The loop as a row of stations: what waits where, and what became of gradients. */

import { h } from "../dom.js";
import { count } from "../format.js";
import { meter } from "../meter.js";
import { table } from "../table.js";

/** Return the stations from problems to versions. */
export function stations(stats) {
  const { problems, trees, batches, gradients } = stats;
  const held = trees.queued + problems.leased;
  const full = meter(held / trees.capacity, { text: `${held} of ${trees.capacity} places` });
  return h(
    "ol",
    { class: "stations", "aria-label": "Queues, in the order of the loop" },
    station("Problems", [
      ["issued", problems.issued],
      ["leased to samplers", problems.leased],
      ["waiting", problems.waiting],
      ["failed", problems.failed],
    ]),
    station(
      "Trees",
      [
        ["queued", trees.queued],
        ["leased to trainers", trees.leased],
        ["trained", trees.trained],
        ["skipped", trees.skipped],
        ["failed", trees.failed],
      ],
      full,
    ),
    station("Batches", [
      ["leased to trainers", batches.leased],
      ["trees each", stats.batch_trees],
      ["without signal", batches.empty],
    ]),
    station("Gradients", [
      ["arriving", gradients.receiving],
      ["pending", gradients.pending],
      ["for a step", stats.gradients_per_step],
      ["applied", gradients.applied],
    ]),
    station(
      "Versions",
      [
        ["newest", stats.version],
        ["steps", stats.step],
      ],
      shards(stats.evaluation),
    ),
  );
}

/** Return the gradients by state, with the reasons of refusals. */
export function gradientTable({ gradients }) {
  const states = [
    "receiving",
    "pending",
    "applied",
    "left_out",
    "abandoned",
    "discarded",
    "refused",
  ];
  const known = Object.entries(gradients.refused_by_reason ?? {}).filter(([, number]) => number);
  const reasons = known.map(([reason, number]) => [`refused: ${reason.replace("_", " ")}`, number]);
  const rows = [...states.map((state) => [state.replace("_", " "), gradients[state]]), ...reasons];
  return table({
    caption: "Gradients by state",
    columns: [
      { title: "State", cell: ([state]) => state },
      { title: "Gradients", number: true, cell: ([, number]) => count(number) },
    ],
    rows,
    rowClass: ([state, number]) =>
      state.startsWith("refused") && number ? "bad" : number ? null : "zero",
  });
}

function station(title, entries, extra = null) {
  const shown = entries.filter(
    ([name, value]) => value || !["failed", "skipped", "without signal"].includes(name),
  );
  const list = shown.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, count(value))]);
  return h("li", {}, h("h3", {}, title), h("dl", {}, ...list), extra);
}

function shards(evaluation) {
  if (!evaluation) return null;
  const { waiting, leased, reported } = evaluation;
  return h(
    "p",
    { class: "hint" },
    `Evaluation shards: ${waiting} waiting, ${leased} leased, ${reported} reported`,
  );
}
