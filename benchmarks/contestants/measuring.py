"""What the optimizer benchmarks measure with: anonymous memory, bytes, synthetic models.

A contestant runs in a process of its own, so that only its memory is measured, and prints JSON.
"""

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from ralo_server.learner.publish.tensor_file import NewTensorFile, Spec

_MATRIX = (4096, 4096)
_PAUSE_SECONDS = 0.005
_BLOCK = 1 << 20


@attrs.define
class Peak:
    """The most anonymous memory of this process while sampled, and that before, in bytes."""

    before: int
    most: int


@contextmanager
def sampled_memory() -> Iterator[Peak]:
    """Sample ``RssAnon`` of this process in a thread during the block."""
    peak = Peak(_anonymous(), 0)
    stopped = threading.Event()

    def sample() -> None:
        while not stopped.wait(_PAUSE_SECONDS):
            peak.most = max(peak.most, _anonymous())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        stopped.set()
        thread.join()


def _anonymous() -> int:
    return _proc("status", "RssAnon:") * 1024


def io_counters() -> dict[str, int]:
    """Return what this process read and wrote by calls (``rchar``, ``wchar``) and on the disk."""
    return {name: _proc("io", f"{name}:") for name in ("rchar", "wchar", "write_bytes")}


def _proc(file: str, key: str) -> int:
    rows = Path(f"/proc/self/{file}").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith(key)))


class Stopwatch:
    """Adds up the seconds spent in named functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Any) -> Any:
        """Return `function` with its time added under `name`."""

        def call(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                passed = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + passed

        return call


def shapes_of(parameters: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of about so many parameters: matrices of 16.8 million, and one rest."""
    count, rest = divmod(parameters, math.prod(_MATRIX))
    matrices = {f"layers.{index:03d}.weight": _MATRIX for index in range(count)}
    return {**matrices, "rest.weight": (rest,)} if rest else matrices


def write_random(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, scale: float
) -> None:
    """Write a safetensors file of normal values, the same million over and over."""
    specs: dict[str, Spec] = {name: (dtype, shape) for name, shape in shapes.items()}
    block = (torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) * scale).to(dtype)
    file = NewTensorFile(path, specs)
    for name, shape in shapes.items():
        size = math.prod(shape)
        for start in range(0, size, _BLOCK):
            file.write(name, start, block[: min(_BLOCK, size - start)])
    file.close()


def run_contestant(name: str, *arguments: object) -> dict[str, Any]:
    """Run ``contestants/<name>.py`` and return the JSON of its last line."""
    command = [sys.executable, str(Path(__file__).parent / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report
