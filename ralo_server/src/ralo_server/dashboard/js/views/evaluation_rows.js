/* The problems of one benchmark at one version: what was asked, expected and written. */

import { NotThere, get } from "../api.js";
import { empty, fill, h } from "../dom.js";
import { benchmarkTitle } from "../evaluations.js";
import { percent, plural } from "../format.js";
import { link } from "../router.js";
import { segmented } from "./chart_tools.js";

const SHOWN = 100;

/** Draw the rows of `benchmark` at `version` into `root`. */
export function mountRows(root, benchmark, version) {
  const list = h("div", {}, empty("Fetching the responses …"));
  const tools = h("div", { class: "toolbar" });
  const back = h("a", { href: link(["evaluations"]) }, "← All evaluations");
  root.append(
    h(
      "header",
      { class: "crumbs" },
      back,
      h("h1", {}, `${benchmarkTitle(benchmark)}, version ${version}`),
    ),
    tools,
    list,
  );
  get("eval/rows", { benchmark, version }).then(
    ({ rows }) => showRows(tools, list, rows),
    (error) =>
      fill(
        list,
        empty(
          error instanceof NotThere
            ? "The responses of this evaluation are not stored."
            : error.message,
        ),
      ),
  );
}

function showRows(tools, list, rows) {
  const solved = rows.filter((row) => row.correct.some(Boolean)).length;
  const choices = [
    ["all", `All (${rows.length})`],
    ["right", `Solved (${solved})`],
    ["wrong", `Not solved (${rows.length - solved})`],
  ];
  const show = (choice) => {
    const fitting = rows.filter(
      (row) => choice === "all" || row.correct.some(Boolean) === (choice === "right"),
    );
    const rest = fitting.length - SHOWN;
    fill(
      list,
      ...fitting.slice(0, SHOWN).map(item),
      rest > 0
        ? empty(
            `and ${plural(rest, "problem")} more: see the file of the evaluation in the run directory`,
          )
        : null,
    );
    if (!fitting.length) fill(list, empty("None."));
  };
  fill(tools, segmented("Which problems", choices, "all", show));
  show("all");
}

function item(row) {
  const right = row.correct.filter(Boolean).length;
  const share = row.correct.length ? right / row.correct.length : 0;
  const responses = row.texts.map((text, index) =>
    response(text, row.predictions[index], row.correct[index]),
  );
  return h(
    "details",
    { class: "item" },
    h(
      "summary",
      {},
      h(
        "span",
        { class: `mark ${right ? "good" : "none"}` },
        right ? "✓" : "✗",
        h("span", { class: "unseen" }, right ? "solved" : "not solved"),
      ),
      h("span", { class: "prompt-cell" }, row.prompt),
      h("span", { class: "expected" }, "expected ", h("b", {}, row.answer)),
      h(
        "span",
        { class: "number" },
        row.correct.length === 1 ? h("span", { class: "given" }, given(row)) : percent(share, 0),
      ),
    ),
    h("p", { class: "text" }, row.prompt),
    h("ol", { class: "responses" }, ...responses),
  );
}

/** Return what the policy wrote: what is compared, or else how the text ends. */
function given({ predictions: [prediction], texts: [text] }) {
  const line = (text ?? "").trim().split("\n").at(-1);
  return prediction || (line.length > 28 ? `… ${line.slice(-26)}` : line) || "nothing";
}

function response(text, prediction, correct) {
  const verdict = `${correct ? "right" : "wrong"}${prediction ? `: ${prediction}` : ""}`;
  return h(
    "li",
    {},
    h("span", { class: `end ${correct ? "good" : "none"}` }, verdict),
    h("p", { class: "text" }, text || "(nothing)"),
  );
}
