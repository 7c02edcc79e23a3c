"""An optimizer step from upload to published weights: RALO's way against the original's.

The original's way is re-created from its description in `contestants/original_step.py`: chunk
files, concatenation, parsing, loading, bf16 AdamW built anew each step. RALO's is the code that
runs: bf16 uploads written once each at their place in one preallocated file, synced, checked value
by value in validation, then the learner's step with fp32 state, its new weights synced, and every
eighth step a synced checkpoint, of which each step has its share. So RALO's time includes the disk
and fp32 moments, the original's neither. HTTP is left out of both.

Bytes are those handed to and taken from the file system, by calls and by maps, per byte of
gradient; what stays in the page cache and what reaches the disk is the system's choice.

    python benchmarks/against_original.py [BILLIONS] [GRADIENTS_PER_STEP]
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from contestants.measuring import run_contestant, shapes_of, write_random

from ralo_core import BuildContext
from ralo_core.builtin.codecs import Bfloat16Codec
from ralo_server.gradients.checks import inspect

STEPS, FRESH = 5, 2
EVERY, CYCLES = 8, 4
"""Steps between checkpoints; in the last cycle every file is written over, none is new."""
BLOCK = 1 << 20
STATE_BYTES = 12
"""Master weights and two moments of a parameter, which the step reads through maps."""


def median(rows: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the median of one measurement over the steps that found their files."""
    return statistics.median(row[name] for row in rows[FRESH:])


def receive(source: Path, folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Return the seconds of one upload as the server stores it: one file, synced and checked."""
    target = folder / "upload.part"
    started = time.perf_counter()
    with source.open("rb") as sent, target.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, source.stat().st_size)
        while body := sent.read(BLOCK):
            file.write(body)
        os.fsync(file.fileno())
    found = inspect(target, shapes, Bfloat16Codec(None, BuildContext(role="cli")))
    assert not found.reason, found.detail
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def table(rows: Sequence[tuple[str, float, float, str]]) -> None:
    """Print (what, original, RALO, unit) rows with the ratio of the two."""
    for what, original, ours, unit in rows:
        ratio = f"{ours / original:.2f} x" if original else ""
        print(f"  {what:34} {original:9.2f} {ours:9.2f} {unit:20} {ratio}")


def main() -> None:
    """Measure both and print them side by side."""
    billions = float(sys.argv[1]) if len(sys.argv) > 1 else 0.2
    copies = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    shapes = shapes_of(round(billions * 1e9))
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        write_random(folder / "model" / "model.safetensors", shapes, torch.bfloat16, 0.02)
        gradient = folder / "gradient.safetensors"
        write_random(gradient, shapes, torch.bfloat16, 1e-3)
        os.sync()
        original = run_contestant("original_step", folder, STEPS, copies)
        os.sync()
        uploads = [receive(gradient, folder, shapes) for _ in range(STEPS)]
        ours = run_contestant("learner_step", folder, "bf16", CYCLES, EVERY, copies, 1)
        size = gradient.stat().st_size
    theirs, cycle = original["steps"], ours["cycles"][-1]
    upload = copies * statistics.median(uploads)
    step, mine = median(theirs, "step"), cycle["seconds"] / EVERY
    # What goes through maps no counter shows: the state is read and written in place, but for one
    # step of a cycle, which writes it by calls; validation and step each read a gradient.
    state = STATE_BYTES * billions * 1e9
    written = copies * size + cycle["wchar"] / EVERY + state * (EVERY - 1) / EVERY
    mapped = 2 * copies * size + state
    print(f"{billions} B parameters, {copies} bf16 gradients per step; original, RALO")
    table(
        [
            ("receiving", median(theirs, "receive"), upload, "s"),
            ("optimizer step and new weights", step, mine, "s"),
            ("both", median(theirs, "receive") + step, upload + mine, "s"),
            ("written", median(theirs, "wchar") / size, written / size, "bytes/gradient byte"),
            (
                "read",
                median(theirs, "rchar") / size,
                (cycle["rchar"] / EVERY + mapped) / size,
                "bytes/gradient byte",
            ),
            ("anonymous memory", original["most"] / 2**20, ours["most"] / 2**20, "MiB"),
        ]
    )


if __name__ == "__main__":
    main()
