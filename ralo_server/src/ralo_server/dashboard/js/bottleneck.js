/* Which part of the loop the others wait for, out of stats; in words and as busy shares.
 * Neighbour: `views/time_spent.js` shows it. */

import { percent } from "./format.js";

/** Return [{ name, share, note }]: how busy samplers, trainers and the learner are, each share in
 * [0, 1] or null. `learnerShare` is the part of the last steps' time spent in the step itself. */
export function busyShares(stats, learnerShare) {
  const samplers = alive(stats, "sampler");
  const trainers = alive(stats, "trainer");
  return [
    {
      name: "Samplers",
      share: mean(samplers.map((worker) => worker.engine?.utilisation)),
      note: "places of the engines that are taken, last 10 s",
    },
    {
      name: "Trainers",
      share: workingShare(trainers),
      note: "time at work since they started; the rest waits for trees",
    },
    {
      name: "Learner",
      share: learnerShare,
      note: "time in optimizer steps, of the time between them",
    },
  ];
}

/** Return one sentence on what the run waits for. */
export function bottleneck(stats, learnerShare) {
  const samplers = alive(stats, "sampler");
  const trainers = alive(stats, "trainer");
  if (stats.state !== "running") return `The run is ${stats.state}.`;
  if (!samplers.length) return "No sampler is connected: start `ralo sample`.";
  if (!trainers.length) return "No trainer is connected: start `ralo train`.";
  const { pending } = stats.gradients;
  if (pending >= 2 * stats.gradients_per_step || learnerShare > 0.8) {
    return `The learner limits the run: ${pending} gradients are pending.`;
  }
  const { queued, capacity } = stats.trees;
  if (queued + stats.problems.leased >= capacity && queued >= stats.batch_trees) {
    return `Trainers limit the run: ${queued} trees are queued, samplers are held back.`;
  }
  const waiting = 1 - (workingShare(trainers) ?? 1);
  if (waiting > 0.15)
    return `Samplers limit the run: trainers have waited ${percent(waiting, 0)} of their time.`;
  return "Balanced: neither samplers nor trainers wait long.";
}

/** Return the seconds of each phase, summed over the workers of a role, largest first. */
export function phaseSeconds(stats, role) {
  const sums = {};
  for (const worker of alive(stats, role)) {
    for (const [name, seconds] of Object.entries(worker.phases ?? {}))
      sums[name] = (sums[name] ?? 0) + seconds;
  }
  return Object.entries(sums).sort(([, a], [, b]) => b - a);
}

/** Return the share of its time that a worker, or several together, has been working. */
export function workingShare(workers) {
  const of = (name) => workers.reduce((sum, worker) => sum + (worker[name] ?? 0), 0);
  const total = of("working_seconds") + of("waiting_seconds");
  return total ? of("working_seconds") / total : null;
}

function alive(stats, role) {
  return stats.workers.filter((worker) => worker.role === role && worker.alive);
}

function mean(values) {
  const known = values.filter((value) => typeof value === "number");
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
