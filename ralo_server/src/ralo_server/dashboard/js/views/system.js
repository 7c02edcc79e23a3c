/* Is it running well? Queues, gradients, workers, the optimizer's steps, where the time goes.
 * Neighbours: `queues.js`, `workers.js`, `time_spent.js` draw the parts. */

import { NotThere, get } from "../api.js";
import { empty, fill, h } from "../dom.js";
import { gradientTable, stations } from "./queues.js";
import { section } from "./section.js";
import { StepTiming } from "./step_timing.js";
import { computeTable, timeSpent, trainerPhases } from "./time_spent.js";
import { workerTable } from "./workers.js";

const COMPUTE_MILLISECONDS = 5000;

/** Draw the view into `root` and keep it up to date; return what ends that. */
export function mount(root, { live }) {
  const parts = Object.fromEntries(
    ["queues", "time", "phases", "gradients", "workers", "compute"].map((name) => [
      name,
      h("div", {}, empty("Waiting for the server …")),
    ]),
  );
  const timing = new StepTiming();
  const compute = section("Compute by role", "device-seconds since the start", parts.compute);
  root.append(
    h("h1", { class: "unseen" }, "System"),
    section("Queues", "from problems to versions", parts.queues),
    h(
      "div",
      { class: "columns" },
      section("Where the time goes", "", parts.time),
      section("Trainers' phases", "seconds of all trainers; phases overlap", parts.phases),
      section("Gradients", "by state, since the start", parts.gradients),
    ),
    section("Workers", "", parts.workers),
    h("div", { class: "charts wide" }, timing.chart.element),
    compute,
  );
  const draw = () => live.stats && drawParts(parts, live.stats, timing.learnerShare());
  const onStep = ({ detail }) => timing.grow(detail);
  const onBack = () => timing.load().then(draw);
  live.addEventListener("stats", draw);
  live.addEventListener("step", onStep);
  live.addEventListener("back", onBack);
  onBack();
  const ends = followCompute(parts.compute, compute);
  return () => {
    ends();
    timing.chart.close();
    live.removeEventListener("stats", draw);
    live.removeEventListener("step", onStep);
    live.removeEventListener("back", onBack);
  };
}

function drawParts(parts, stats, learnerShare) {
  fill(parts.queues, stations(stats));
  fill(parts.time, ...timeSpent(stats, learnerShare));
  fill(parts.phases, trainerPhases(stats));
  fill(parts.gradients, gradientTable(stats));
  const scrolled = parts.workers.firstElementChild?.scrollLeft ?? 0;
  fill(parts.workers, workerTable(stats));
  parts.workers.firstElementChild.scrollLeft = scrolled;
}

/** Ask for the compute every few seconds; an older server without it has no such section. */
function followCompute(root, frame) {
  let timer = null;
  const ask = async () => {
    try {
      fill(root, computeTable(await get("compute/stats")));
      frame.hidden = false;
      timer = setTimeout(ask, COMPUTE_MILLISECONDS);
    } catch (error) {
      if (error instanceof NotThere) frame.hidden = true;
      else timer = setTimeout(ask, COMPUTE_MILLISECONDS);
    }
  };
  ask();
  return () => clearTimeout(timer);
}
