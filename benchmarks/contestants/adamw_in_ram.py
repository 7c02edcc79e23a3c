"""torch's fused AdamW on fp32 tensors in memory, of the shapes of a gradient file; prints JSON.

Around the step there is what anybody has to do: the gradient is read and clipped, the new weights
are cast to bf16 and saved as a safetensors file, which is synced. No hash, no state on the disk.

python adamw_in_ram.py GRADIENT STEPS THREADS
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path

import torch
from measuring import io_counters
from safetensors.torch import load_file, save_file

PARTS = ("read", "clip", "step", "publish")


def main() -> None:
    """Take the steps and print the report: the seconds of every part."""
    path, steps, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    shapes = {name: value.shape for name, value in load_file(path).items()}
    parameters = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6, fused=True)
    rows = []
    for step in range(steps):
        before, marks = io_counters(), [time.perf_counter()]
        for name, value in load_file(path).items():
            # A copy: what load_file gives is a map of the file, not memory.
            parameters[name].grad = value.clone()
        marks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        marks.append(time.perf_counter())
        optimizer.step()
        marks.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        publish(parameters, path.with_name(f"published-{step}"))
        marks.append(time.perf_counter())
        seconds = [after - before for before, after in itertools.pairwise(marks)]
        moved = {name: value - before[name] for name, value in io_counters().items()}
        rows.append({**dict(zip(PARTS, seconds, strict=True)), **moved})
        path.with_name(f"published-{step}").unlink()
    print(json.dumps({"steps": rows}))


def publish(parameters: dict[str, torch.nn.Parameter], target: Path) -> None:
    """Save the weights in bf16, and bring the file to the disk."""
    save_file({name: value.data.bfloat16() for name, value in parameters.items()}, target)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


if __name__ == "__main__":
    main()
