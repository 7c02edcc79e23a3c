/* The charts of a run: which metrics stand in which, what they are called and measured in.
 * Names are those of docs/metrics.md; a chart shows those of its metrics that the run reports.
 * Neighbours: `views/learning.js` and `views/compare.js` draw them. */

import { clockDuration, count, duration, percent } from "./format.js";

/** A share as it is said in charts. */
export const share = (value) => percent(value, Math.abs(value) < 0.1 ? 1 : 0);

/** What is always there, in this order. `names` may end in "/*": all parts of a metric. */
export const CHARTS = [
  { key: "reward", title: "Reward", unit: "mean over rollouts", names: ["reward"] },
  {
    key: "accuracy",
    title: "Accuracy",
    unit: "share correct, 95 % band",
    evaluations: true,
    format: share,
  },
  { key: "length", title: "Response length", unit: "tokens", names: ["response_tokens"] },
  { key: "entropy", title: "Entropy", unit: "nats per token", names: ["entropy"] },
  {
    key: "kl",
    title: "KL divergence",
    unit: "nats per token",
    names: ["reference_kl", "mismatch_kl", "kl"],
    why: "This run's objective reports no KL.",
  },
  {
    key: "clip",
    title: "Clipped and masked",
    unit: "share of tokens",
    names: ["clip_fraction", "masked_fraction/*"],
    format: share,
    why: "This run's loss neither clips nor masks.",
  },
  {
    key: "staleness",
    title: "Staleness",
    unit: "versions",
    names: ["staleness", "gradient_staleness"],
  },
  {
    key: "throughput",
    title: "Throughput",
    unit: "tokens per second",
    rates: ["decoded_tokens", "tokens"],
  },
  { key: "grad_norm", title: "Gradient norm", unit: "before clipping", names: ["grad_norm"] },
];

/** What series are called where their name alone does not say it. */
const LABELS = {
  reward: "reward",
  response_tokens: "length",
  reference_kl: "to version 0",
  mismatch_kl: "sampler to trainer",
  kl: "behaviour to policy",
  clip_fraction: "clipped",
  decoded_tokens: "decoded",
  tokens: "trained",
  gradient_staleness: "of gradients",
  staleness: "of trees",
  grad_norm: "norm",
};

/** Return what a series is called in a legend. */
export function label(name) {
  if (name.startsWith("masked_fraction/")) return `masked by ${name.slice(16)}`;
  return LABELS[name] ?? name;
}

/** Return the chart of one metric that the user has picked. */
export function pickedChart(name) {
  const seconds = /(^|[_/])seconds$/.test(name);
  return {
    key: `picked ${name}`,
    title: name,
    unit: seconds ? "seconds" : "",
    names: [name],
    picked: true,
  };
}

/** Return those of `names` that `available` has, with "/*" spelt out. */
export function present(names, available) {
  return names.flatMap((name) => {
    if (!name.endsWith("/*")) return available.includes(name) ? [name] : [];
    return available.filter((other) => other.startsWith(name.slice(0, -1)));
  });
}

/** What runs are compared by. */
export const COMPARED = [
  { key: "reward", title: "Reward", unit: "mean over rollouts", names: ["reward"] },
  { key: "length", title: "Response length", unit: "tokens", names: ["response_tokens"] },
  { key: "entropy", title: "Entropy", unit: "nats per token", names: ["entropy"] },
  {
    key: "kl",
    title: "KL divergence",
    unit: "sampler to trainer, nats per token",
    names: ["mismatch_kl"],
  },
  { key: "staleness", title: "Staleness", unit: "versions", names: ["staleness"] },
  {
    key: "throughput",
    title: "Throughput",
    unit: "decoded tokens per second",
    rates: ["decoded_tokens"],
  },
];

/** The two x-axes. */
export const AXES = {
  step: { label: "step", format: count, tick: count },
  time: { label: "time", format: duration, tick: clockDuration },
};
