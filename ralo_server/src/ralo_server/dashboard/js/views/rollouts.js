/* What the model wrote: the newest rollout trees, found by problem or step, and one of them.
 * Neighbours: `views/rollout.js` shows a single one. */

import { NotThere, get } from "../api.js";
import { empty, fill, h } from "../dom.js";
import { count, moment, number, percent } from "../format.js";
import { meter } from "../meter.js";
import { go, link } from "../router.js";
import { table } from "../table.js";
import { showRollout } from "./rollout.js";

const PAGE = 50;

/** Draw the list, or the rollout whose number is in the address. */
export function mount(root, { path, query }) {
  return path.length ? mountOne(root, path[0]) : mountList(root, query);
}

function mountOne(root, wanted) {
  let view = null;
  fill(root, empty("Fetching the rollout …"));
  get(`rollouts/${encodeURIComponent(wanted)}`).then(
    (rollout) => (view = showRollout(root, rollout)),
    (error) =>
      fill(
        root,
        h("p", {}, h("a", { href: link(["rollouts"]) }, "← All rollouts")),
        empty(whyNot(error, wanted)),
      ),
  );
  return () => view?.close();
}

function whyNot(error, wanted) {
  if (error instanceof NotThere)
    return `Rollout ${wanted} is not kept any more (see [rollouts] in the config), or never was.`;
  return error.message;
}

function mountList(root, query) {
  const list = h("section", {}, empty("Fetching rollouts …"));
  const more = h("button", { type: "button", class: "quiet", hidden: true }, "Older ones");
  const rows = [];
  const fetchMore = async () => {
    try {
      const before = rows.at(-1)?.number;
      const { rollouts } = await get("rollouts", { limit: PAGE, before, ...query });
      rows.push(...rollouts);
      more.hidden = rollouts.length < PAGE;
      fill(list, rolloutTable(rows, query));
    } catch (error) {
      fill(
        list,
        empty(error instanceof NotThere ? "This server keeps no rollouts." : error.message),
      );
    }
  };
  more.addEventListener("click", fetchMore);
  const refresh = h(
    "button",
    { type: "button", on: { click: () => fill(root) && mountList(root, query) } },
    "Refresh",
  );
  root.append(
    h("div", { class: "toolbar" }, h("h1", {}, "Rollouts"), filters(query), refresh),
    list,
    more,
  );
  fetchMore();
}

function filters(query) {
  const problem = h("input", {
    type: "search",
    name: "problem",
    value: query.problem ?? "",
    placeholder: "Problem",
    "aria-label": "Only of this problem",
  });
  const step = h("input", {
    type: "number",
    name: "step",
    min: "0",
    value: query.step ?? "",
    placeholder: "Step",
    "aria-label": "Only trained on in this step",
  });
  const form = h(
    "form",
    { class: "filters", role: "search" },
    problem,
    step,
    h("button", { type: "submit" }, "Filter"),
    query.problem || query.step ? h("a", { href: link(["rollouts"]) }, "All") : null,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(["rollouts"], { problem: problem.value.trim(), step: step.value });
  });
  return form;
}

function rolloutTable(rows, { problem, step }) {
  const filtered = problem || step;
  return table({
    caption: "Rollouts, newest first",
    none: filtered
      ? "No kept rollout matches."
      : "No rollout yet: the first tree is still being sampled.",
    rows,
    columns: [
      {
        title: "Rollout",
        cell: (row) => h("a", { href: link(["rollouts", String(row.number)]) }, `#${row.number}`),
      },
      {
        title: "Prompt",
        cell: (row) => h("span", { class: "prompt-cell", title: row.prompt }, row.prompt),
      },
      {
        title: "Problem",
        cell: (row) =>
          h("a", { href: link(["rollouts"], { problem: row.problem_id }) }, row.problem_id),
      },
      {
        title: "State",
        cell: (row) => h("span", { class: "pill", "data-state": row.state }, row.state),
      },
      { title: "Step", number: true, cell: (row) => count(row.step) },
      { title: "Version", number: true, cell: (row) => count(row.version) },
      {
        title: "Reward",
        number: true,
        hint: "mean over the leaves",
        cell: (row) => number(row.reward),
      },
      {
        title: "Solved",
        hint: "share of the leaves",
        cell: (row) => meter(row.solved, { text: percent(row.solved, 0), color: "c1" }),
      },
      { title: "Leaves", number: true, cell: (row) => count(row.leaves) },
      {
        title: "Depth",
        number: true,
        hint: "segments on the longest path",
        cell: (row) => count(row.depth),
      },
      {
        title: "Tokens",
        number: true,
        hint: "decoded, a shared one once",
        cell: (row) => count(row.tokens),
      },
      { title: "Time", number: true, cell: (row) => moment(row.time) },
    ],
  });
}
