/* Where the time goes: what the run waits for, how busy each part is, the trainers' phases. */

import { busyShares, phaseSeconds } from "../busy_shares.js";
import { empty, h } from "../dom.js";
import { duration, number } from "../format.js";
import { meter } from "../meter.js";
import { table } from "../table.js";

/** Return the sentence and the bars; `learnerShare` as in busy_shares.js. */
export function timeSpent(stats, learnerShare) {
  const rows = busyShares(stats, learnerShare).map(({ name, share, note }) => [
    h("dt", { title: note }, name),
    h("dd", {}, meter(share), h("small", {}, note)),
  ]);
  return [
    h("p", { class: "verdict" }, stats.bottleneck),
    h("dl", { class: "bars" }, ...rows.flat()),
  ];
}

/** Return the seconds of the phases of all trainers. */
export function trainerPhases(stats) {
  const phases = phaseSeconds(stats, "trainer");
  if (!phases.length) return empty("No trainer has reported its phases yet.");
  const most = phases[0][1];
  const rows = phases.flatMap(([name, seconds]) => [
    h("dt", {}, name),
    h(
      "dd",
      {},
      meter(most ? seconds / most : 0, {
        text: duration(seconds),
        color: name === "waiting" ? "muted" : "c3",
      }),
    ),
  ]);
  return h("dl", { class: "bars" }, ...rows);
}

/** Return the device-seconds by role of `/compute/stats`. */
export function computeTable({ roles, total }) {
  const rows = [...Object.entries(roles), ["total", total]];
  return table({
    caption: "Compute by role",
    columns: [
      { title: "Role", cell: ([role]) => role },
      { title: "Workers", number: true, cell: ([, one]) => number(one.workers) },
      { title: "Devices", number: true, cell: ([, one]) => number(one.devices) },
      {
        title: "Working",
        hint: "device-seconds",
        number: true,
        cell: ([, one]) => duration(one.working_seconds),
      },
      {
        title: "Waiting",
        hint: "device-seconds",
        number: true,
        cell: ([, one]) => duration(one.waiting_seconds),
      },
      { title: "Tokens", number: true, cell: ([, one]) => number(one.tokens) },
      {
        title: "Tokens per working s",
        number: true,
        cell: ([, one]) => number(one.working_seconds ? one.tokens / one.working_seconds : null),
      },
      { title: "Working share", cell: ([, one]) => meter(share(one)) },
    ],
    rows,
    rowClass: ([role]) => (role === "total" ? "total" : null),
  });
}

function share({ working_seconds: working, waiting_seconds: waiting }) {
  return working + waiting ? working / (working + waiting) : null;
}
