/* How busy the parts of the loop are, out of stats. */

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
