/* A rollout tree as d3-hierarchy has it: the prompt as the root, segments below it, each with the
 * leaves that end there; and where each stands: x by tokens, y by the order of the leaves.
 * Neighbours: `/rollouts/{number}` gives the segments, `tree_picture.js` draws the layout. */

import { cluster, stratify } from "../vendor/d3-hierarchy.min.js";

const ROOT = -1;

/** Return the root; `node.data` is { index, segment, leaves }, segment null for the prompt, and
 * `node.from`, `node.to` are tokens since the prompt, `node.row` its height in rows. */
export function treeOf({ segments, leaves }) {
  const rows = segments.map((segment, index) => ({
    index,
    parent: segment.parent,
    segment,
    leaves: leavesAt(leaves, index),
  }));
  const root = stratify()
    .id((row) => row.index)
    .parentId((row) => (row.index === ROOT ? null : row.parent))([
    { index: ROOT, segment: null, leaves: leavesAt(leaves, ROOT) },
    ...rows,
  ]);
  return placed(root);
}

/** Return the nodes from the root down to `node`, without the prompt. */
export function pathTo(node) {
  return node.ancestors().reverse().slice(1);
}

/** Return the neighbour that an arrow key leads to, or null. Up and down stay at one depth where
 * they can. */
export function neighbour(node, key) {
  const level = () =>
    node
      .ancestors()
      .at(-1)
      .descendants()
      .filter((other) => other.depth === node.depth)
      .sort((a, b) => a.row - b.row);
  if (key === "ArrowLeft") return node.parent;
  if (key === "ArrowRight") return node.children?.[0] ?? null;
  if (key === "ArrowUp") return level()[level().indexOf(node) - 1] ?? null;
  if (key === "ArrowDown") return level()[level().indexOf(node) + 1] ?? null;
  return null;
}

function leavesAt(leaves, index) {
  return leaves
    .map((leaf, number) => ({ ...leaf, number }))
    .filter((leaf) => leaf.segment === index);
}

function placed(root) {
  cluster()
    .nodeSize([1, 1])
    .separation(() => 1)(root);
  const top = Math.min(...root.descendants().map((node) => node.x));
  root.each((node) => {
    node.row = node.x - top;
    node.from = node.parent ? node.parent.to : 0;
    node.to = node.from + (node.data.segment?.tokens ?? 0);
  });
  return root;
}
