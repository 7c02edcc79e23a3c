"""The learner's steps on the model and the gradient in a folder; prints JSON.

    python learner_step.py FOLDER CODEC CYCLES EVERY COPIES THREADS

FOLDER holds ``model/`` and ``gradient.safetensors``; the gradient is used COPIES times per step.
A cycle is EVERY steps and the checkpoint after them, which the next cycle waits for before its own.
The files of the first two checkpoints are new; then, as in a run, they are written over.
"""

import json
import shutil
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from measuring import Stopwatch, io_counters, sampled_memory

from ralo_core import BuildContext
from ralo_core.builtin.codecs import Bfloat16Codec, Float32Codec
from ralo_server.aggregators.means import TokenMean
from ralo_server.learner.publish.publisher import Publisher
from ralo_server.learner.state.folders import OptimizerFolders
from ralo_server.learner.state.master_state import MasterState
from ralo_server.learner.step.aggregate import Aggregate
from ralo_server.learner.step.step_files import StepFiles
from ralo_server.optimizers.adamw import AdamW
from ralo_server.optimizers.settings import AdamWSettings


class Run:
    """Steps and checkpoints as `loop` and `checkpoints` make them, without a store."""

    def __init__(self, folder: Path, codec: str, copies: int) -> None:
        context = BuildContext(role="learner")
        (folder / "files").mkdir(exist_ok=True)
        self.folder, self.watch = folder, Stopwatch()
        Aggregate.norm = self.watch.timed("norm", Aggregate.norm)  # type: ignore[method-assign]
        Publisher.write = self.watch.timed("walk", Publisher.write)  # type: ignore[method-assign]
        self.folders = OptimizerFolders(folder / "optimizer", folder / "optimizer" / "working")
        self.files = StepFiles(
            aggregator=TokenMean(None, context),
            codec={"none": Float32Codec, "bf16": Bfloat16Codec}[codec](None, context),
            optimizer_factory=AdamW(AdamWSettings(lr=1e-6), context),
            publisher=Publisher(folder / "files", torch.bfloat16),
            folders=self.folders,
        )
        self.weighted_gradients = [(folder / "gradient.safetensors", 1.0)] * copies
        self.master = MasterState.of_model(folder / "model", self.files.optimizer_factory)
        self.thread = ThreadPoolExecutor(1)
        self.checkpoint: Future[str] | None = None

    def step(self, number: int) -> dict[str, Any]:
        """Take a step and return what it took."""
        self.watch.seconds.clear()
        before, started = io_counters(), time.perf_counter()
        parent = self.folder / f"v{number - 1}" if number > 1 else None
        target = self.folder / f"v{number}"
        gradients = self.weighted_gradients
        self.files.write(self.master, number, gradients, target, number, parent)
        total = time.perf_counter() - started
        moved = {name: value - before[name] for name, value in io_counters().items()}
        shutil.rmtree(self.folder / f"v{number - 1}", ignore_errors=True)
        return {"total": total, **self.watch.seconds, **moved}

    def settle(self) -> None:
        """Wait for the checkpoint under way; the one before it becomes the spare folder."""
        if self.checkpoint is not None:
            self.folders.keep([self.checkpoint.result()])

    def begin_checkpoint(self, number: int) -> None:
        """Let the state become a checkpoint while the next steps are taken."""
        folder = self.folders.set_aside(f"v{number:06d}")
        self.master.release_files()
        self.checkpoint = self.thread.submit(self.folders.complete, folder)


def main() -> None:
    """Take the steps and print the report."""
    folder, codec = Path(sys.argv[1]), sys.argv[2]
    cycles, every, copies, threads = map(int, sys.argv[3:])
    torch.set_num_threads(threads)
    report: list[dict[str, Any]] = []
    with sampled_memory() as peak:
        run = Run(folder, codec, copies)
        for cycle in range(cycles):
            before, started = io_counters(), time.perf_counter()
            numbers = range(cycle * every + 1, (cycle + 1) * every + 1)
            steps = [run.step(number) for number in numbers]
            run.settle()
            run.begin_checkpoint(numbers[-1])
            seconds = time.perf_counter() - started
            moved = {name: value - before[name] for name, value in io_counters().items()}
            report.append({"steps": steps, "seconds": seconds, **moved})
        run.settle()
    kept = sum(file.stat().st_size for file in (folder / "optimizer").glob("v*/*"))
    print(json.dumps({"cycles": report, "before": peak.before, "most": peak.most, "kept": kept}))


if __name__ == "__main__":
    main()
