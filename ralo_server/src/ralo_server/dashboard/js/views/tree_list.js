/* The tree as a list of lists: the same as the picture, for those who do not see it. */

import { paint } from "../coloring.js";
import { h } from "../dom.js";
import { number, signed } from "../format.js";

/** Return the nested list of the segments under `root`. */
export function treeList(root, { scale, most, onChoose }) {
  return h(
    "ol",
    { class: "tree-list", "aria-label": "The rollout tree as a list" },
    ...items(root, { scale, most, onChoose }),
  );
}

function items(node, options) {
  return (node.children ?? []).map((child) => item(child, options));
}

function item(node, options) {
  const { index, segment, leaves } = node.data;
  const value = segment[options.scale];
  const tone = paint(options.scale, value, options.most);
  const button = h(
    "button",
    { type: "button", "data-segment": index, on: { click: () => options.onChoose(node) } },
    h("span", { class: `chip ${tone.class}`, style: tone.style }, signed(value)),
    h("q", {}, segment.text),
    ...leaves.map((leaf) =>
      h(
        "span",
        { class: `end ${leaf.reward > 0 ? "good" : "none"}` },
        `${number(leaf.reward)} ${leaf.finish_reason}`,
      ),
    ),
  );
  const below = items(node, options);
  return h("li", {}, button, below.length ? h("ol", {}, ...below) : null);
}
