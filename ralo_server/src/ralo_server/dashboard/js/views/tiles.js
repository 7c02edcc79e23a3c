/* The run in a row of numbers: state, progress, reward, accuracy, time, workers.
 * Neighbours: `views/learning.js` shows it above its charts. */

import { fill, h } from "../dom.js";
import { benchmarkTitle, benchmarks } from "../evaluations.js";
import { count, duration, number, percent, plural } from "../format.js";
import { doneShare, limitsInWords, remainingSeconds } from "../progress.js";

/** Fill `root` with the tiles of `stats`; `reward` is that of the last step. */
export function showTiles(root, stats, reward) {
  fill(root, ...tiles(stats, reward).map(tile), errorTile(stats.last_error));
}

function tiles(stats, reward) {
  const workers = stats.workers.filter((worker) => worker.alive);
  const roles = ["sampler", "trainer"].map((role) =>
    plural(workers.filter((worker) => worker.role === role).length, role),
  );
  return [
    {
      name: "State",
      value: stats.state,
      note: limitsInWords(stats.limits),
      share: doneShare(stats),
    },
    {
      name: "Step",
      value: count(stats.step),
      note: stats.limits.max_steps
        ? `of ${count(stats.limits.max_steps)}`
        : `version ${stats.version}`,
    },
    {
      name: "Version",
      value: stats.version < 0 ? "none yet" : count(stats.version),
      note: `${count(stats.gradients.applied)} gradients applied`,
    },
    { name: "Reward", value: number(reward), note: "mean of the last step" },
    accuracyTile(stats.evaluations),
    { name: "Elapsed", value: duration(stats.elapsed_seconds), note: "pauses not counted" },
    remainingTile(stats),
    {
      name: "Decoded",
      value: number(stats.tokens.decoded),
      note: `${count(stats.rollouts.sampled)} rollouts`,
    },
    { name: "Workers", value: count(workers.length), note: roles.join(", ") },
  ];
}

function accuracyTile(evaluations) {
  const [benchmark] = benchmarks(evaluations);
  const newest = evaluations.filter((one) => one.benchmark === benchmark).at(-1);
  const accuracy = newest?.metrics.accuracy;
  if (!accuracy) return { name: "Accuracy", value: "–", note: "no evaluation yet" };
  const band = `${percent(accuracy.low, 0)} to ${percent(accuracy.high, 0)}`;
  return {
    name: "Accuracy",
    value: percent(accuracy.value),
    note: `${benchmarkTitle(benchmark)}, ${band}`,
  };
}

function remainingTile(stats) {
  const left = remainingSeconds(stats);
  if (stats.state !== "running") return { name: "Remaining", value: "–", note: "the run is over" };
  if (left === null) return { name: "Remaining", value: "–", note: "no limit is set" };
  return { name: "Remaining", value: duration(left), note: "at the pace so far" };
}

function tile({ name, value, note, share = null }) {
  const bar = share === null ? null : h("span", { class: "progress", style: { "--share": share } });
  return h(
    "div",
    { class: "tile" },
    h("dt", {}, name),
    h("dd", {}, h("b", {}, value), h("small", { title: note }, note), bar),
  );
}

function errorTile(error) {
  if (!error) return null;
  return h(
    "div",
    { class: "tile error" },
    h("dt", {}, "Last error"),
    h("dd", {}, h("pre", {}, error)),
  );
}
