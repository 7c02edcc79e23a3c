/* A number as a colour: how far a log-prob or an advantage is along its scale, as a class and a
 * strength that `dashboard.css` mixes. Blue and orange are told apart by colour-blind people, and
 * lightness grows with strength.
 * Neighbours: the tree, the tokens and the legend are coloured with it. */

import { signed } from "./format.js";

/** Each scale says its ends; `of(value)` is in [-1, 1], null for what is not known. */
export const SCALES = {
  logprob: {
    title: "log-prob",
    of: (value) => -Math.min(1, -value / 4),
    ticks: [-4, -2, 0],
    explain: "mean log-probability of the tokens in nats; orange: the policy was unsure",
  },
  advantage: {
    title: "advantage",
    of: (value, most) => (most ? Math.max(-1, Math.min(1, value / most)) : 0),
    ticks: null,
    explain: "blue: better than its siblings, orange: worse",
  },
};

/** Return { class, style } for an element that stands for `value`. `most` is the largest size. */
export function paint(scale, value, most) {
  if (value === null || value === undefined) return { class: "tone unknown" };
  const at = SCALES[scale].of(value, most);
  return {
    class: `tone ${at < 0 ? "low" : "high"}`,
    style: { "--strength": Math.abs(at).toFixed(3) },
  };
}

/** Return [[position in [0, 1], text], ...] for the legend. */
export function legendTicks(scale, most) {
  if (scale === "logprob")
    return SCALES.logprob.ticks.map((value) => [
      1 + value / 4,
      value ? `${signed(value, 0)}${value === -4 ? " and less" : ""}` : "0",
    ]);
  return [
    [0, signed(-most)],
    [0.5, "0"],
    [1, signed(most)],
  ];
}
