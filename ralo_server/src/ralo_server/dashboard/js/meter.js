/* A share as a bar with its number. */

import { h } from "./dom.js";
import { UNKNOWN, percent } from "./format.js";

/** Return the bar of a share in [0, 1]; null is a dash. `text` stands in place of the percent. */
export function meter(share, { text = percent(share, 0), color = "accent" } = {}) {
  if (share === null || share === undefined) return h("span", { class: "meter" }, UNKNOWN);
  const bar = h("span", {
    class: "bar",
    "aria-hidden": "true",
    style: { "--share": Math.min(1, Math.max(0, share)), "--color": `var(--${color})` },
  });
  return h("span", { class: "meter" }, bar, h("span", { class: "amount" }, text));
}
