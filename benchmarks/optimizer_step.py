"""The learner's optimizer step against torch's fused AdamW in RAM on the same tensors.

All have one gradient of float32 and the same number of torch's threads. The learner reads it, clips
its global norm, steps its state, which is in files, casts, writes and hashes the new weights and
brings them to the disk; every few steps its state becomes a checkpoint, synced while the next steps
are taken. It is set against (a) the bare fused AdamW step, everything in RAM, and (b) what anybody
has to do around it: read the gradient, clip, step in RAM, cast to bf16, save a safetensors file and
sync it, without a hash and with no state that outlives the process.

A step in place is the median of those that are neither first in the process nor after a
checkpoint; the average is that of a whole cycle, its checkpoint included. `RssAnon` of the learner
is sampled every 5 ms. Bytes written are those that became dirty in the page cache, as the kernel
counts them for the process: the disk sees as many at most, for a page that is written to again
before the system takes it to the disk is one.

    python benchmarks/optimizer_step.py [--every STEPS] [--threads N] [BILLIONS ...]

Without sizes: 0.2, 0.5 and 1.5 billion parameters, as far as memory (22 bytes per parameter for
the contestants in RAM) and disk (54) allow. Where only RAM is short, their time is taken from the
size before, by the parameter.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from contestants.measuring import run_contestant, shapes_of, write_random

SIZES = (0.2, 0.5, 1.5)
STEPS, CYCLES = 5, 4
SETTLED = 3
"""The first cycle in which every file is written over, none is new."""
MEMORY_BYTES, DISK_BYTES = 22, 54
"""Per parameter, with some room: what the contestants in RAM and what the learner need."""
PARTS = ("read", "clip", "step", "publish")


def median(rows: Sequence[dict[str, float]], name: str) -> float:
    """Return the median of one measurement over steps."""
    return statistics.median(row[name] for row in rows)


def measure(
    billions: float, folder: Path, every: int, threads: int, in_ram: bool
) -> tuple[dict[str, Any], Any]:
    """Return the reports of the learner and of AdamW in RAM (None if it has no room)."""
    shapes = shapes_of(round(billions * 1e9))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    write_random(folder / "model" / "model.safetensors", shapes, torch.bfloat16, 0.02)
    write_random(folder / "gradient.safetensors", shapes, torch.float32, 1e-3)
    os.sync()
    gradient = folder / "gradient.safetensors"
    ram = run_contestant("adamw_in_ram", gradient, STEPS, threads) if in_ram else None
    os.sync()
    return run_contestant("learner_step", folder, "none", CYCLES, every, 1, threads), ram


def show(billions: float, learner: dict[str, Any], per_parameter: dict[str, float]) -> None:
    """Print the ratios of one size; `per_parameter` has the seconds of the parts in RAM."""
    count, cycle = billions * 1e9, learner["cycles"][SETTLED]
    every, in_place = len(cycle["steps"]), cycle["steps"][1:]
    bare = per_parameter["step"] * count
    anybody = sum(per_parameter[part] for part in PARTS) * count
    spent = ", ".join(f"{part} {per_parameter[part] * count:.2f}" for part in PARTS)
    print(
        f"\n{billions} B parameters: (a) AdamW in RAM {bare:.2f} s, (b) {anybody:.2f} s ({spent})"
    )
    norm, walk, total = (median(in_place, name) for name in ("norm", "walk", "total"))
    rows = {
        "gradient: read, norm": norm,
        "step, cast, hash, write, sync": walk,
        "step in place": total,
        "first step after a checkpoint": cycle["steps"][0]["total"],
        f"average of {every}, with checkpoint": cycle["seconds"] / every,
        f"average of the first {every}, new files": learner["cycles"][0]["seconds"] / every,
    }
    for name, seconds in rows.items():
        ratios = f"{seconds / bare:6.2f} x (a) {seconds / anybody:6.2f} x (b)"
        print(f"  {name:38} {seconds:7.2f} s {ratios}")
    written = cycle["write_bytes"] / count / every
    print(
        f"  written per parameter and step: {written:.1f} bytes, "
        f"{median(in_place, 'write_bytes') / count:.1f} in a step in place; "
        f"(b) {per_parameter['write_bytes']:.1f}"
    )
    print(
        f"  anonymous memory at most {learner['most'] / 2**20:.0f} MiB, "
        f"{learner['before'] / 2**20:.0f} before the model was opened; "
        f"{learner['kept'] / count:.1f} bytes of checkpoints per parameter at the end"
    )


def main() -> None:
    """Measure and print every size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=8, help="steps between checkpoints, 2 or more")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("sizes", nargs="*", type=float, default=SIZES, metavar="BILLIONS")
    options = parser.parse_args()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known: dict[str, float] = {}
    for billions in options.sizes:
        with tempfile.TemporaryDirectory(dir=".") as name:
            folder, count = Path(name), billions * 1e9
            room = os.statvfs(folder)
            if room.f_bavail * room.f_frsize < count * DISK_BYTES:
                print(f"\n{billions} B parameters: the disk has no {DISK_BYTES} bytes for each")
                continue
            fits = memory > count * MEMORY_BYTES
            if not fits and not known:
                print(f"\n{billions} B parameters: no room for AdamW in RAM; begin smaller")
                continue
            learner, ram = measure(billions, folder, options.every, options.threads, fits)
            if ram is not None:
                rows = ram["steps"][1:]
                known = {part: median(rows, part) / count for part in (*PARTS, "write_bytes")}
            show(billions, learner, known)


if __name__ == "__main__":
    main()
