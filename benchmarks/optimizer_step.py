"""The learner's optimizer step on files against torch's fused AdamW on the same tensors in RAM.

Both have one gradient of float32, one thread of torch, and read the gradient, clip its global
norm and step. The learner also writes its new state beside the old, casts, writes and hashes the
new weights, and brings all of it to the disk; the parts are printed one by one. The disk alone is
measured with the same bytes per step, because at these sizes the disk is what a step waits for.
`RssAnon` of the learner is sampled every 5 ms, from before the model is opened.

    python benchmarks/optimizer_step.py [BILLIONS ...]

Without arguments: 0.2, 0.5 and 1.5 billion parameters, as far as memory (16 bytes per parameter
for the contestant in RAM) and disk (30) allow. Where only RAM is short, its time is taken from
the size before, by the parameter.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from contestants.measuring import run_contestant, shapes_of, write_random

SIZES = (0.2, 0.5, 1.5)
STEPS = 5
FRESH = 2
"""Steps before the first that overwrites a spare folder."""
MEMORY_BYTES, DISK_BYTES = 17, 34
"""Per parameter, with some room: what AdamW in RAM and what the learner needs."""
PROBE_BYTES = 1 << 30


def median(rows: Sequence[dict[str, float]], name: str) -> float:
    """Return the median of one measurement over steps."""
    return statistics.median(row[name] for row in rows)


def disk_speed(folder: Path) -> float:
    """Return the bytes per second of a plain write of 1 GiB with fsync."""
    block, path = os.urandom(1 << 20), folder / "probe"
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(PROBE_BYTES >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return PROBE_BYTES / seconds


def measure(billions: float, folder: Path, in_ram: bool) -> tuple[dict[str, Any], Any, float]:
    """Return the reports of the learner and of AdamW in RAM (None if it has no room), and the
    speed of the disk."""
    shapes = shapes_of(round(billions * 1e9))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    write_random(folder / "model" / "model.safetensors", shapes, torch.bfloat16, 0.02)
    write_random(folder / "gradient.safetensors", shapes, torch.float32, 1e-3)
    os.sync()
    speed = disk_speed(folder)
    ram = run_contestant("adamw_in_ram", folder / "gradient.safetensors", STEPS) if in_ram else None
    return run_contestant("learner_step", folder, "none", STEPS, 1), ram, speed


def show(
    billions: float, learner: dict[str, Any], per_parameter: dict[str, float], speed: float
) -> None:
    """Print the ratios of one size; `per_parameter` has the seconds of AdamW in RAM."""
    count = billions * 1e9
    step, same = (
        seconds * count for seconds in (per_parameter["step"], sum(per_parameter.values()))
    )
    rows = learner["steps"][FRESH:]
    combine, walk, total = (median(rows, name) for name in ("combine", "walk", "total"))
    parts = {
        "read, combine, norm": combine,
        "step, cast, hash, write": walk,
        "both, without the disk": combine + walk,
        "bring to the disk": total - combine - walk,
        "whole step": total,
        "whole step, new files": statistics.mean(row["total"] for row in learner["steps"][:FRESH]),
    }
    print(f"\n{billions} B parameters: AdamW in RAM {step:.2f} s, with read and clip {same:.2f} s")
    for name, seconds in parts.items():
        ratios = f"{seconds / step:6.2f} x AdamW {seconds / same:6.2f} x with read and clip"
        print(f"  {name:24} {seconds:7.2f} s {ratios}")
    alone = median(rows, "wchar") / speed
    print(
        f"  the disk alone, {median(rows, 'wchar') / count:.1f} bytes per parameter at "
        f"{speed / 1e6:.0f} MB/s: {alone:.2f} s; the whole step takes {total / alone:.2f} x that"
    )
    print(
        f"  anonymous memory at most {learner['most'] / 2**20:.0f} MiB, "
        f"{learner['before'] / 2**20:.0f} before the model was opened; on disk "
        f"{learner['kept'] / count:.1f} bytes of state per parameter and kept version, and a spare"
    )


def main() -> None:
    """Measure and print every size."""
    sizes = [float(argument) for argument in sys.argv[1:]] or SIZES
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known: dict[str, float] = {}
    for billions in sizes:
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
            learner, ram, speed = measure(billions, folder, fits)
            if ram is not None:
                rows = ram["steps"][1:]
                known = {part: median(rows, part) / count for part in ("read", "clip", "step")}
            show(billions, learner, known, speed)


if __name__ == "__main__":
    main()
