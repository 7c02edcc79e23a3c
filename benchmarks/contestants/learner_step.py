"""The learner's steps on the model and the gradient in a folder; prints JSON.

    python learner_step.py FOLDER CODEC STEPS COPIES

FOLDER holds ``model/`` and ``gradient.safetensors``; the gradient is used COPIES times per step.
As in a run that keeps one version, the third step is the first to overwrite a spare folder.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import torch
from measuring import Stopwatch, io_counters, sampled_memory

from ralo_core import BuildContext
from ralo_core.builtin.codecs import Bfloat16Codec, Float32Codec
from ralo_server.learner import step_files
from ralo_server.learner.master import Master
from ralo_server.learner.publishing import Publisher
from ralo_server.learner.step_files import StepFiles
from ralo_server.policies.adamw import AdamW
from ralo_server.policies.aggregation import TokenMean
from ralo_server.policies.settings import AdamWSettings


def main() -> None:
    """Take the steps and print the report."""
    folder, codec, steps, copies = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
    torch.set_num_threads(1)
    context = BuildContext(role="learner")
    watch = Stopwatch()
    step_files.combine_gradients = watch.timed("combine", step_files.combine_gradients)
    Publisher.write = watch.timed("walk", Publisher.write)
    files = StepFiles(
        aggregation=TokenMean(None, context),
        codec={"none": Float32Codec, "bf16": Bfloat16Codec}[codec](None, context),
        publisher=Publisher(folder / "files", torch.bfloat16),
    )
    (folder / "files").mkdir(exist_ok=True)
    terms = [(folder / "gradient.safetensors", 1.0)] * copies
    rows = []
    with sampled_memory() as peak:
        master = Master.of_model(folder / "model", AdamW(AdamWSettings(lr=1e-6), context))
        for step in range(1, steps + 1):
            spare = folder / f"step-{step - 2}" if step > 2 else None
            watch.seconds.clear()
            before, started = io_counters(), time.perf_counter()
            master = files.write(
                master,
                step,
                terms,
                folder / f"step-{step}",
                folder / f"v{step}",
                step,
                spare,
                folder / f"v{step - 1}" if step > 1 else None,
            ).master
            total = time.perf_counter() - started
            moved = {name: value - before[name] for name, value in io_counters().items()}
            rows.append({"total": total, **watch.seconds, **moved})
            shutil.rmtree(folder / f"v{step - 1}", ignore_errors=True)
    kept = sum(file.stat().st_size for file in (folder / f"step-{steps}").iterdir())
    report = {"steps": rows, "before": peak.before, "most": peak.most, "kept": kept}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
