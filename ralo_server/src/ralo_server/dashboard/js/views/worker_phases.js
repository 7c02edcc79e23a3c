/* The phases of one worker in a cell: its two longest, the rest on demand. */

import { h } from "../dom.js";
import { UNKNOWN, duration } from "../format.js";

/** Return "compute 12 s, fetch 7.5 s, ..." with all of them as the cell's hint. */
export function phasesCell({ phases = {} }) {
  const sorted = Object.entries(phases).sort(([, a], [, b]) => b - a);
  if (!sorted.length) return UNKNOWN;
  const say = ([name, seconds]) => `${name} ${duration(seconds)}`;
  return h(
    "span",
    { class: "phases", title: sorted.map(say).join("\n") },
    sorted.slice(0, 2).map(say).join(", "),
  );
}
