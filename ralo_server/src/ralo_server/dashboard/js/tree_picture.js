/* A rollout tree as SVG: a bar per segment, as long as its tokens, its colour a log-prob or an
 * advantage; leaves with their reward and why they ended.
 * Neighbours: `tree_model.js` lays it out, `pan_zoom.js` moves it, `views/rollout.js` shows the text
 * of what is chosen. */

import { paint } from "./coloring.js";
import { h, s } from "./dom.js";
import { number, plural, signed } from "./format.js";
import { pathTo } from "./tree_model.js";

const ROW = 27;
const BAR = 17;
const READABLE = 22;
const GAP = 14;
const LEFT = 64;
const LEAF = 112;
const MARGIN = 14;

/** Return { element, width, height, choose(node) } of the tree at `root`, `room` pixels wide.
 * `onChoose` is called with the node of a segment that was clicked or reached with the keyboard. */
export function treePicture(root, { scale, most, room, onChoose }) {
  const nodes = root.descendants();
  const rows = Math.max(...nodes.map((node) => node.row)) + 1;
  const depth = root.height;
  const unit = Math.max(
    2,
    (room - LEFT - LEAF - depth * GAP) / Math.max(1, ...nodes.map((node) => node.to)),
  );
  const place = (node) => ({
    x: LEFT + node.from * unit + Math.max(0, node.depth - 1) * GAP,
    y: MARGIN + node.row * ROW,
    width: Math.max(3, (node.to - node.from) * unit),
  });
  const width = Math.max(...nodes.map((node) => place(node).x + place(node).width)) + LEAF;
  const height = rows * ROW + 2 * MARGIN - (ROW - BAR);
  const groups = new Map();
  for (const node of nodes)
    groups.set(
      node,
      node.parent ? segment(node, place, { scale, most, onChoose }) : prompt(place(node)),
    );
  const links = nodes
    .filter((node) => node.depth > 1 || node.parent)
    .map((node) => connection(node, place));
  const camera = s(
    "g",
    { class: "camera" },
    s("g", { class: "links", "aria-hidden": "true" }, ...links),
    ...groups.values(),
  );
  const element = s(
    "svg",
    {
      class: "tree",
      role: "tree",
      "aria-label": "The rollout tree; arrow keys go along its branches",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
    },
    camera,
  );
  return { element, camera, width, height, choose: (node) => markChosen(groups, node) };
}

/** Return what a segment is, in words, for its label and its hint. */
export function inWords({ data: { index, segment, leaves }, depth }) {
  const ends = leaves.map(
    (leaf) => `leaf ${leaf.number + 1}: reward ${number(leaf.reward)}, ${leaf.finish_reason}`,
  );
  const advantage = segment.advantage === null ? [] : [`advantage ${signed(segment.advantage)}`];
  return [
    `Segment ${index + 1} at depth ${depth}`,
    plural(segment.tokens, "token"),
    `log-prob ${signed(segment.logprob)}`,
    ...advantage,
    ...ends,
  ].join(", ");
}

function segment(node, place, { scale, most, onChoose }) {
  const { x, y, width } = place(node);
  const { segment: data } = node.data;
  const tone = paint(scale, data[scale], most);
  const bar = s("rect", { x, y, width, height: BAR, rx: 3, class: tone.class, style: tone.style });
  const hit = s("rect", {
    class: "hit",
    x: x - GAP / 2,
    y: y - (ROW - BAR) / 2,
    width: width + GAP,
    height: ROW,
  });
  const attributes = {
    class: "segment",
    role: "treeitem",
    tabindex: "-1",
    "aria-level": node.depth,
    "aria-selected": "false",
    "aria-label": inWords(node),
  };
  const group = s(
    "g",
    attributes,
    hit,
    bar,
    words(data.text, { x, y, width }),
    s("title", {}, inWords(node)),
    ...leafMarks(node, x + width, y),
  );
  group.addEventListener("click", () => onChoose(node));
  group.addEventListener("focus", () => onChoose(node));
  return group;
}

/** Return the beginning of the text, as much of it as the bar has room for. */
function words(text, { x, y, width }) {
  if (width < READABLE) return null;
  const shown = text.slice(0, Math.ceil(width / 5)).replaceAll("\n", "↵");
  return s(
    "svg",
    { class: "words", x: x + 4, y, width: width - 6, height: BAR, "aria-hidden": "true" },
    s("text", { x: 0, y: BAR / 2 }, shown),
  );
}

function leafMarks(node, x, y) {
  return node.data.leaves.slice(0, 1).flatMap((leaf) => {
    const more = node.data.leaves.length > 1 ? ` ×${node.data.leaves.length}` : "";
    const good = leaf.reward > 0;
    const mark = s("circle", {
      class: `reward ${good ? "good" : "none"}`,
      cx: x + 12,
      cy: y + BAR / 2,
      r: 5,
    });
    const text = s(
      "text",
      { class: "leaf", x: x + 23, y: y + BAR / 2 },
      s("tspan", { class: "value" }, number(leaf.reward)),
      s("tspan", { dx: 6 }, `${leaf.finish_reason}${more}`),
    );
    return [mark, text];
  });
}

function prompt({ y }) {
  return s(
    "g",
    { class: "prompt" },
    s("text", { x: LEFT - 16, y: y + BAR / 2, "text-anchor": "end" }, "prompt"),
    s("circle", { cx: LEFT - 9, cy: y + BAR / 2, r: 3 }),
  );
}

function connection(node, place) {
  const [from, to] = [place(node.parent), place(node)];
  const start = node.parent.parent ? from.x + from.width : LEFT - 6;
  const [y0, y1] = [from.y + BAR / 2, to.y + BAR / 2];
  const middle = (start + to.x) / 2;
  return s("path", { d: `M${start} ${y0}C${middle} ${y0} ${middle} ${y1} ${to.x} ${y1}` });
}

function markChosen(groups, chosen) {
  const path = new Set(pathTo(chosen));
  for (const [node, group] of groups) {
    if (!node.parent) continue;
    group.classList.toggle("chosen", node === chosen);
    group.classList.toggle("path", path.has(node));
    group.setAttribute("aria-selected", String(node === chosen));
    group.setAttribute("tabindex", node === chosen ? "0" : "-1");
  }
  return groups.get(chosen);
}

/** Return the legend of the colours. */
export function colorLegend(scale, ticks, explain) {
  const labels = ticks.map(([at, text]) => h("span", { style: { "--at": at } }, text));
  return h(
    "div",
    { class: `color-legend ${scale}`, title: explain },
    h("i", { "aria-hidden": "true" }),
    h("div", {}, ...labels),
  );
}
