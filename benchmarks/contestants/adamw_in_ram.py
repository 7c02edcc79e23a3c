"""torch's fused AdamW on fp32 tensors in memory, of the shapes of a gradient file; prints JSON.

python adamw_in_ram.py GRADIENT STEPS
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file


def main() -> None:
    """Take the steps and print the report: seconds of reading, of clipping and of stepping."""
    path, steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    shapes = {name: value.shape for name, value in load_file(path).items()}
    parameters = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6, fused=True)
    rows = []
    for _ in range(steps):
        started = time.perf_counter()
        for name, value in load_file(path).items():
            # A copy: what load_file gives is a map of the file, not memory.
            parameters[name].grad = value.clone()
        read = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        clipped = time.perf_counter()
        optimizer.step()
        stepped = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        rows.append({"read": read - started, "clip": clipped - read, "step": stepped - clipped})
    print(json.dumps({"steps": rows}))


if __name__ == "__main__":
    main()
