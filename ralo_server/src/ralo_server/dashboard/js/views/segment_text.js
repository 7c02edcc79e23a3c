/* The text of a segment and of the path to it, every token in its colour and with its number.
 * Neighbours: `views/rollout.js` shows it beside the tree. */

import { paint } from "../coloring.js";
import { h } from "../dom.js";
import { number, plural, signed } from "../format.js";
import { pathTo } from "../tree_model.js";

const NUMBERED_TOKENS = 400;

/** Return the panel of a chosen segment. */
export function segmentPanel(node, rollout) {
  const { index, segment, leaves } = node.data;
  const facts = [
    `version ${segment.version}`,
    plural(segment.tokens, "token"),
    `log-prob ${signed(segment.logprob)}`,
  ];
  if (segment.advantage !== null) facts.push(`advantage ${signed(segment.advantage)}`);
  return [
    h(
      "header",
      {},
      h("h2", {}, `Segment ${index + 1}`),
      h("span", { class: "unit" }, facts.join(" · ")),
    ),
    below(node),
    numberedTokens(segment),
    ...leaves.map(leafFacts),
    h("h3", {}, "The whole path"),
    wholePath(node, rollout),
  ];
}

/** Return what became of a segment: the leaves that grew from it. */
function below(node) {
  const ends = node.leaves().flatMap((leaf) => leaf.data.leaves);
  if (!node.children || !ends.length) return null;
  const mean = ends.reduce((sum, leaf) => sum + leaf.reward, 0) / ends.length;
  return h(
    "p",
    { class: "leaf-facts" },
    `${plural(ends.length, "leaf", "leaves")} below it, mean reward ${number(mean)}`,
  );
}

/** Return the tokens of a segment, each over its log-prob. */
function numberedTokens(segment) {
  const shown = segment.pieces.slice(0, NUMBERED_TOKENS);
  const tokens = shown.map((piece, at) =>
    h(
      "span",
      { class: "token" },
      piecesNode(piece, segment.logprobs[at]),
      h("small", {}, signed(segment.logprobs[at])),
    ),
  );
  const rest = segment.pieces.length - shown.length;
  const more =
    rest > 0
      ? h("p", { class: "hint" }, `and ${plural(rest, "token")} more, see the path below`)
      : null;
  return h(
    "div",
    { class: "tokens", "aria-label": "Tokens with their log-probs" },
    ...tokens,
    more,
  );
}

function leafFacts(leaf) {
  const parts = Object.entries(leaf.rewards ?? {}).map(
    ([name, value]) => `${name} ${number(value)}`,
  );
  const text = `Leaf ${leaf.number + 1}: reward ${number(leaf.reward)}${parts.length ? ` (${parts.join(", ")})` : ""}, ended by ${leaf.finish_reason}, ${plural(leaf.tokens, "token")}`;
  return h("p", { class: "leaf-facts" }, text);
}

function wholePath(node, rollout) {
  const segments = pathTo(node).map((step) => segmentSpan(step, step === node));
  return h(
    "div",
    { class: "path-text" },
    h("span", { class: "prompt-text" }, rollout.prompt ?? rollout.problem.prompt),
    ...segments,
  );
}

function segmentSpan({ data: { index, segment } }, chosen) {
  const tokens = segment.pieces.map((piece, at) => piecesNode(piece, segment.logprobs[at]));
  return h(
    "span",
    { class: chosen ? "span chosen" : "span", title: `Segment ${index + 1}` },
    ...tokens,
  );
}

function piecesNode(piece, logprob) {
  const tone = paint("logprob", logprob);
  return h(
    "span",
    { class: `piece ${tone.class}`, style: tone.style, title: `log-prob ${signed(logprob, 3)}` },
    visible(piece),
  );
}

/** Line breaks and nothing at all are made visible. */
function visible(piece) {
  return piece === "" ? "∅" : piece.replaceAll("\n", "↵\n");
}
