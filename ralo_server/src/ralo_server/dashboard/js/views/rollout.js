/* One rollout tree: the problem, the tree as a picture or a list, the text of what is chosen.
 * Neighbours: `tree_picture.js`, `views/tree_list.js` and `views/segment_text.js` draw the parts. */

import { SCALES, legendTicks } from "../coloring.js";
import { fill, h } from "../dom.js";
import { number, plural } from "../format.js";
import { kept } from "../kept.js";
import { panZoom } from "../pan_zoom.js";
import { link } from "../router.js";
import { pairs } from "../table.js";
import { colorLegend, treePicture } from "../tree_picture.js";
import { neighbour, treeOf } from "../tree_model.js";
import { segmented } from "./chart_tools.js";
import { segmentPanel } from "./segment_text.js";
import { treeList } from "./tree_list.js";

const NARROWEST = 620; // pixels; a phone scrolls the tree sideways

const scaleChoice = kept("scale", "advantage");
const formChoice = kept("treeForm", "tree");

/** Draw `rollout` into `root`. */
export function showRollout(root, rollout) {
  const view = new Explorer(rollout);
  fill(
    root,
    heading(rollout),
    problem(rollout),
    h("div", { class: "explorer" }, view.element, view.panel),
  );
  view.draw();
  return view;
}

function heading({ number: own, version, step }) {
  const facts = [
    `sampled with version ${version}`,
    step === null ? "not trained on yet" : `trained on in step ${step}`,
  ];
  return h(
    "header",
    { class: "crumbs" },
    h("a", { href: link(["rollouts"]) }, "← All rollouts"),
    h("h1", {}, `Rollout ${own}`),
    h("span", { class: "unit" }, facts.join(", ")),
  );
}

function problem({ problem: { id, prompt, answer }, leaves }) {
  const solved = leaves.filter((leaf) => leaf.reward > 0).length;
  return pairs([
    ["Problem", h("a", { href: link(["rollouts"], { problem: id }) }, id)],
    ["Prompt", h("span", { class: "text" }, prompt)],
    ["Answer", answer ? h("span", { class: "text" }, answer) : undefined],
    [
      "Leaves",
      `${plural(leaves.length, "leaf", "leaves")}, ${solved} with a reward above 0; mean reward ${number(mean(leaves.map((leaf) => leaf.reward)))}`,
    ],
  ]);
}

class Explorer {
  #width = 0;

  constructor(rollout) {
    this.rollout = rollout;
    this.root = treeOf(rollout);
    this.chosen = bestLeaf(this.root);
    this.panel = h("section", {
      class: "segment-panel",
      "aria-live": "polite",
      "aria-label": "The chosen segment",
    });
    this.canvas = h("div", { class: "tree-canvas" });
    this.legend = h("div");
    this.zoomButtons = [
      ["+", 1.4, "Enlarge"],
      ["−", 1 / 1.4, "Reduce"],
      ["⤾", 0, "Show all"],
    ].map(([text, factor, name]) =>
      h(
        "button",
        {
          type: "button",
          class: "icon",
          "aria-label": name,
          title: name,
          on: { click: () => (factor ? this.camera.zoom(factor) : this.camera.reset()) },
        },
        text,
      ),
    );
    this.element = h(
      "section",
      { class: "tree-frame", "aria-label": "Tree" },
      this.#tools(),
      this.canvas,
    );
    this.canvas.addEventListener("keydown", (event) => this.#walk(event));
    this.observer = new ResizeObserver(
      () => this.#width !== this.canvas.clientWidth && this.draw(),
    );
    this.observer.observe(this.canvas);
  }

  close() {
    this.observer.disconnect();
  }

  draw() {
    this.#width = this.canvas.clientWidth;
    const scale = this.#scale();
    const most = Math.max(
      ...this.rollout.segments.map((segment) => Math.abs(segment.advantage ?? 0)),
      1e-9,
    );
    const options = {
      scale,
      most,
      room: Math.max(this.#width, NARROWEST),
      onChoose: (node) => this.#choose(node),
    };
    fill(this.legend, colorLegend(scale, legendTicks(scale, most), SCALES[scale].explain));
    const picture = formChoice.get() === "tree";
    for (const button of this.zoomButtons) button.hidden = !picture;
    if (picture) this.#drawPicture(options);
    else this.#drawList(options);
    if (this.chosen) this.#choose(this.chosen);
  }

  #drawPicture(options) {
    this.picture = treePicture(this.root, options);
    this.camera = panZoom(this.picture.element, this.picture.camera);
    fill(this.canvas, this.picture.element);
  }

  #drawList(options) {
    this.picture = null;
    fill(this.canvas, treeList(this.root, options));
  }

  /** Advantages are there once a trainer has made them; until then log-probs are shown. */
  #scale() {
    const known = this.rollout.segments.some((segment) => segment.advantage !== null);
    return known ? scaleChoice.get() : "logprob";
  }

  #choose(node) {
    this.chosen = node;
    fill(this.panel, ...segmentPanel(node, this.rollout));
    if (this.picture) return this.picture.choose(node);
    for (const button of this.canvas.querySelectorAll("[data-segment]")) {
      button.setAttribute(
        "aria-pressed",
        String(Number(button.dataset.segment) === node.data.index),
      );
    }
    return null;
  }

  #walk(event) {
    if (!this.picture || !this.chosen) return;
    const next = neighbour(this.chosen, event.key);
    if (!next?.parent) return;
    event.preventDefault();
    this.#choose(next).focus();
  }

  #tools() {
    const redraw = (choice) => (value) => {
      choice.set(value);
      this.draw();
    };
    const scales = segmented(
      "Colour by",
      [
        ["advantage", "Advantage"],
        ["logprob", "Log-prob"],
      ],
      this.#scale(),
      redraw(scaleChoice),
    );
    const forms = segmented(
      "Show as",
      [
        ["tree", "Tree"],
        ["list", "List"],
      ],
      formChoice.get(),
      redraw(formChoice),
    );
    return h(
      "div",
      { class: "toolbar" },
      forms,
      scales,
      this.legend,
      h("span", { class: "zoom" }, ...this.zoomButtons),
    );
  }
}

/** Return the segment where the best leaf ends: what is read first is a whole answer. */
function bestLeaf(root) {
  const reward = (node) => Math.max(...node.data.leaves.map((leaf) => leaf.reward));
  const ends = root.descendants().filter((node) => node.parent && node.data.leaves.length);
  return ends.sort((a, b) => reward(b) - reward(a) || a.row - b.row)[0] ?? null;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / (values.length || 1);
}
