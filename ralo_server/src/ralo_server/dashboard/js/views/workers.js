/* Every worker in a row: who it is, what weights it has, how fast and how busy it is. */

import { phasesCell } from "./worker_phases.js";
import { workingShare } from "../busy_shares.js";
import { h } from "../dom.js";
import { UNKNOWN, bytes, count, duration, number } from "../format.js";
import { meter } from "../meter.js";
import { table } from "../table.js";

/** Return the table of the workers of `stats`. */
export function workerTable(stats) {
  return table({
    caption: "Workers",
    columns: columns(stats.version),
    rows: [...stats.workers].sort(
      (a, b) => a.role.localeCompare(b.role) || a.id.localeCompare(b.id),
    ),
    rowClass: (worker) => (worker.alive ? null : "gone"),
    none: "No worker has registered yet: start `ralo sample` and `ralo train`.",
  });
}

function columns(newest) {
  return [
    {
      title: "Worker",
      cell: (worker) =>
        h("span", { title: `host ${worker.host}, process ${worker.pid}` }, worker.id),
    },
    { title: "Role", cell: (worker) => worker.role },
    {
      title: "State",
      cell: (worker) => h("span", { class: "pill", "data-state": worker.state }, worker.state),
    },
    {
      title: "Seen",
      hint: "time since its last heartbeat",
      number: true,
      cell: (worker) => `${duration(worker.seen_seconds_ago)} ago`,
    },
    {
      title: "Version",
      hint: "of its weights",
      number: true,
      cell: (worker) => version(worker.version, newest),
    },
    {
      title: "Tokens",
      hint: "decoded or trained since the start",
      number: true,
      cell: (worker) => count(worker.tokens),
    },
    {
      title: "Tokens/s",
      hint: "a sampler's of the last 10 s, a trainer's while it works",
      number: true,
      cell: (worker) => number(rate(worker)),
    },
    {
      title: "Working",
      hint: "share of its time; the rest is waiting",
      cell: (worker) => meter(workingShare([worker])),
    },
    {
      title: "Engine",
      hint: "places taken, last 10 s",
      cell: (worker) => meter(worker.engine?.utilisation, { color: "c2" }),
    },
    {
      title: "Requests",
      hint: "running and waiting just now",
      number: true,
      cell: (worker) => requests(worker.engine),
    },
    {
      title: "Fetched",
      hint: "weights over the network",
      number: true,
      cell: (worker) => bytes(worker.weights?.bytes),
    },
    {
      title: "Paused",
      hint: "paused to take new weights",
      number: true,
      cell: (worker) => duration(worker.weights?.pause_seconds),
    },
    { title: "Phases", hint: "seconds, they may overlap", cell: phasesCell },
  ];
}

function version(own, newest) {
  if (own === null || own === undefined || own < 0) return UNKNOWN;
  const behind = newest - own;
  return behind > 0 ? h("span", {}, `${own} `, h("small", {}, `−${behind}`)) : String(own);
}

function rate({ engine, tokens, working_seconds: seconds }) {
  return engine ? engine.tokens_per_second : seconds ? tokens / seconds : null;
}

function requests(engine) {
  return engine ? `${count(engine.running)} + ${count(engine.waiting)}` : UNKNOWN;
}
