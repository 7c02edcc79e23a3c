"""Do N trainers give N times the gradients? Simulated trainers against one real orchestrator.

A real ``ralo serve``; simulated samplers keep the queue full; each simulated trainer leases a
batch, sleeps for as long as a gradient is said to take, and uploads one. Whatever is missing to N
times the gradients of one trainer was lost in the orchestrator, in the learner's steps or on this
machine's cores, which all of them share. In the last phase trainers join and leave in the middle.

    python benchmarks/scaling_trainers.py [SECONDS_PER_GRADIENT] [SECONDS_PER_PHASE]
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from contestants import simulated_workers
from contestants.simulated_trainers import Trainer
from control_requests import COLUMNS, Run

COUNTS = (1, 2, 4, 8, 16)
ROWS, SAMPLERS = 64, 4
SETTINGS = (
    "trainer.batch_trees=1", "server.queued_trees=64", "learner.gradients_per_step=8",
    "server.concurrent_uploads=16", "evaluation.problems=0", "server.port=0",
    "server.min_free_mb=0", "trainer.dynamic_sampling=off",
)  # fmt: skip


@contextmanager
def samplers(url: str) -> Iterator[None]:
    """Keep the queue of trees full."""
    simulated_workers.SAMPLE_SECONDS = 0.01
    stopping = threading.Event()
    threads = [
        thread
        for number in range(SAMPLERS)
        for thread in simulated_workers.Worker(url, "sampler", f"s{number}", stopping).start()
    ]
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def trainers(run: Run, count: int, seconds: float) -> list[Trainer]:
    """Let so many trainers join."""
    gradient = np.full((ROWS, COLUMNS), 1e-6, np.float32)
    made = [Trainer(run.url, f"t-{time.monotonic_ns()}", seconds, gradient) for _ in range(count)]
    for trainer in made:
        trainer.join()
    return made


def all_leave(present: Sequence[Trainer]) -> None:
    """Let them leave together."""
    for trainer in present:
        trainer.tell_to_leave()
    for trainer in present:
        trainer.leave()


def rate(present: Sequence[Trainer], seconds: float) -> float:
    """Return the gradients per second that were accepted from `present` within `seconds`."""
    before, started = sum(trainer.accepted for trainer in present), time.monotonic()
    time.sleep(seconds)
    after = sum(trainer.accepted for trainer in present)
    return (after - before) / (time.monotonic() - started)


def scaling(run: Run, seconds: float, phase: float) -> None:
    """Print the gradients per second of each number of trainers, as multiples of one."""
    single = 0.0
    for count in COUNTS:
        present = trainers(run, count, seconds)
        time.sleep(2 * seconds)
        measured = rate(present, phase)
        all_leave(present)
        single = single or measured
        print(
            f"{count:3} trainers: {measured:6.2f} gradients/s, {measured / single:5.2f} x one, "
            f"{measured / single / count:.2f} of ideal"
        )


def elasticity(run: Run, seconds: float, phase: float) -> None:
    """Print the rates while trainers join and leave a run that goes on."""
    present = trainers(run, 4, seconds)
    time.sleep(2 * seconds)
    base = rate(present, phase)
    guests = trainers(run, 4, seconds)
    time.sleep(2 * seconds)
    more = rate([*present, *guests], phase)
    all_leave(guests)
    again = rate(present, phase)
    all_leave(present)
    print(f"4 trainers, 4 more join, 4 leave: 1 : {more / base:.2f} : {again / base:.2f}")


def check(run: Run) -> None:
    """Print what the orchestrator has counted of it all."""
    gradients = run.store.database.rows("SELECT state, COUNT(*) FROM gradients GROUP BY state")
    twice = run.store.database.value(
        """SELECT COUNT(*) - COUNT(DISTINCT batch_id) FROM gradients
           WHERE state IN ('pending', 'applied')"""
    )
    counts = ", ".join(f"{row[1]} {row[0]}" for row in gradients)
    print(f"gradients: {counts}; batches counted twice: {twice}")


def main(seconds: float = 1.0, phase: float = 12.0) -> None:
    """Measure both and print them."""
    with tempfile.TemporaryDirectory(prefix="ralo-bench-") as root:
        run = Run(Path(root), ROWS, SETTINGS).start()
        try:
            print(f"{os.cpu_count()} cores, {seconds} s a gradient")
            with samplers(run.url):
                scaling(run, seconds, phase)
                elasticity(run, seconds, phase)
            check(run)
        finally:
            run.stop()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
