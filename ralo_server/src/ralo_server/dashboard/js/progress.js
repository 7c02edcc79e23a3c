/* How far a run is and how long it will take, out of its stats. */

/** Return the seconds that are left by the limit that comes first, null without one. */
export function remainingSeconds({ limits, step, elapsed_seconds: elapsed, state }) {
  if (state !== "running") return null;
  const left = [];
  if (limits.max_minutes) left.push(60 * limits.max_minutes - elapsed);
  if (limits.max_steps && step) left.push(((limits.max_steps - step) * elapsed) / step);
  return left.length ? Math.max(0, Math.min(...left)) : null;
}

/** Return the share of the run that is done, null where it has no limit. */
export function doneShare(stats) {
  const left = remainingSeconds(stats);
  if (left === null) return null;
  return stats.elapsed_seconds / (stats.elapsed_seconds + left || 1);
}

/** Return what limits the run, in words. */
export function limitsInWords({ max_steps: steps, max_minutes: minutes }) {
  const words = [steps && `${steps} steps`, minutes && `${minutes} min`].filter(Boolean);
  return words.length ? `until ${words.join(" or ")}` : "no limit set";
}
