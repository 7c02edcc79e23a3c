"""Control requests with many workers: p50 and p99, idle and while the optimizer steps.

A real ``ralo serve``; simulated workers (three samplers to one trainer) on the same machine beat,
follow the weights, lease, upload small trees and release, through HTTP over loopback. Long polls
are made as real workers make them and not timed: their length is the wait. In the second phase
gradients are put in the learner's queue without HTTP, so that one optimizer step follows the
other on a synthetic model; everything else is the same. Workers, server and learner share this
machine's cores, which they do not in a run.

The promise is a p99 under 50 ms with 64 workers. The upload of a tree is no control request: it is
answered when its bytes are on the disk, so it takes what the disk takes. A bare write and fsync
of the same bytes beside it shows how busy the disk is.

    python benchmarks/control_requests.py [MILLION_PARAMETERS] [WORKERS] [SECONDS]
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from contestants.simulated_workers import BARE_FSYNC, UPLOAD, Latencies, work
from safetensors.numpy import save_file

from ralo_core.client import Client
from ralo_core.data import GradientUpload
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_server.store.uploads import Limits

COLUMNS, PROCESSES, TRAINER_SHARE = 4096, 2, 4
PROMISE_SECONDS = 0.050
NO_CONTROL = (UPLOAD, BARE_FSYNC)
SETTINGS = (
    "trainer.batch_trees=16", "server.queued_trees=128", "evaluation.problems=0",
    "server.port=0", "server.min_free_mb=0", "learner.keep_last_versions=3",
)  # fmt: skip


@attrs.define
class Run:
    """A ``ralo serve`` under `root` with a model of `rows` times `COLUMNS` parameters."""

    root: Path
    rows: int
    settings: Sequence[str] = SETTINGS
    url: str = attrs.field(default="", init=False)
    process: subprocess.Popen[bytes] = attrs.field(init=False)
    store: Store = attrs.field(init=False)

    @property
    def directory(self) -> RunDirectory:
        """The run directory."""
        return RunDirectory(self.root / "run")

    @property
    def gradient(self) -> Path:
        """The file that every queued gradient is a link to."""
        return self.root / "gradient.safetensors"

    def start(self) -> "Run":
        """Start it and wait for the first version."""
        model = self.root / "model"
        model.mkdir()
        values = np.zeros((self.rows, COLUMNS), np.float32)
        save_file({"w": values}, model / "model.safetensors")
        for name in ("config.json", "tokenizer.json"):
            (model / name).write_text("{}")
        save_file({"w": values}, self.gradient, {"ralo": '{"codec": "none"}'})
        options = [part for s in (f"run.model={model}", *self.settings) for part in ("--set", s)]
        command = ["ralo_core.cli.main", "serve", "--run-dir", str(self.directory.root), *options]
        self.process = subprocess.Popen([sys.executable, "-m", *command])
        while not self.directory.url_file.exists():
            if self.process.poll() is not None:
                raise SystemExit("ralo serve did not start")
            time.sleep(0.1)
        self.url = self.directory.url_file.read_text().strip()
        Client(self.url).version(-1, wait=30.0)
        self.store = Store(self.directory, self.directory.load_config(())[0])
        return self

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()

    def feed(self, stopping: threading.Event) -> None:
        """Keep one gradient ahead of the learner, for a batch of the trees that are queued."""
        while not stopping.wait(0.01):
            if self.store.gradients.pending():
                continue
            batch = self.store.batches.lease("feeder", 1, True)
            if batch is not None:
                self._queue(batch.id)

    def _queue(self, batch_id: str) -> None:
        upload_id, size = uuid.uuid4().hex, self.gradient.stat().st_size
        declaration = GradientUpload(
            upload_id=upload_id, batch_id=batch_id, worker_id="feeder", base_version=0, weight=1.0,
            codec="none", size=size, chunk_bytes=size, chunk_digests=("",),
        )  # fmt: skip
        self.store.uploads.declare(declaration, Limits(receiving=64, pending=64))
        blob = self.directory.gradients / f"{upload_id}.safetensors"
        blob.unlink()
        os.link(self.gradient, blob)
        self.store.uploads.commit(upload_id, 1.0)


def crowd(run: Run, workers: int, seconds: float) -> tuple[Latencies, float]:
    """Return the latencies of so many workers in `seconds`, and how many requests per second."""
    names = [
        ("trainer" if number % TRAINER_SHARE == 0 else "sampler", f"w{number}")
        for number in range(workers)
    ]
    shares = [(run.url, names[part::PROCESSES], seconds, run.root) for part in range(PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        latencies = [entry for part in pool.starmap(work, shares) for entry in part]
    return latencies, len(latencies) / seconds


def phases(run: Run, workers: int, seconds: float) -> dict[str, tuple[Latencies, float, int]]:
    """Return latencies, requests per second and steps taken, idle and while the learner steps."""
    idle = (*crowd(run, workers, seconds), 0)
    stopping, before = threading.Event(), run.store.run.step()
    feeder = threading.Thread(target=run.feed, args=(stopping,))
    feeder.start()
    stepping = crowd(run, workers, seconds)
    stopping.set()
    feeder.join()
    return {"idle": idle, "stepping": (*stepping, run.store.run.step() - before)}


def table(results: dict[str, tuple[Latencies, float, int]]) -> str:
    """Return p50 and p99 of every request in both phases, in milliseconds, and their ratio."""
    by_name: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for phase, (latencies, _, _) in results.items():
        for name, seconds in latencies:
            by_name[name][phase].append(seconds)
            if name not in NO_CONTROL:
                by_name["all control"][phase].append(seconds)
    lines = [
        f"{'ms':>11} {'idle p50':>9} {'p99':>7} {'stepping p50':>13} {'p99':>7} {'p99 ratio':>9}"
    ]
    for name, times in sorted(by_name.items()):
        idle, stepping = (np.percentile(times[p] or [np.nan], (50, 99)) * 1000 for p in results)
        lines.append(
            f"{name:>11} {idle[0]:9.1f} {idle[1]:7.1f} {stepping[0]:13.1f} {stepping[1]:7.1f} "
            f"{stepping[1] / idle[1]:9.2f}"
        )
    return "\n".join(lines)


def main(million: int = 50, workers: int = 64, seconds: int = 15) -> None:
    """Measure both phases and print them."""
    with tempfile.TemporaryDirectory(prefix="ralo-bench-") as root:
        run = Run(Path(root), million * 10**6 // COLUMNS).start()
        try:
            results = phases(run, workers, seconds)
        finally:
            run.stop()
    print(f"{workers} workers, {million} million parameters, {os.cpu_count()} cores")
    print(table(results))
    for phase, (latencies, rate, steps) in results.items():
        p99 = np.percentile([t for name, t in latencies if name not in NO_CONTROL], 99)
        print(
            f"{phase}: {rate:.0f} timed requests/s, {steps} steps, p99 {p99 / PROMISE_SECONDS:.2f} "
            "of the promised 50 ms"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
