"""How small weight deltas are, and how fast they are made and applied.

First real steps: ``ralo run`` trains the embedded tiny model at two learning rates; sizes are read
from the versions that the learner published. Then so many parameters of a synthetic model, N(0,
0.02) in bfloat16, stepped slice by slice by torch's AdamW in fp32, whose moments begin where noisy
gradients of very different scales have brought them. Codec and XOR with zstd are timed on one
core, on the same slices. Last files: how much longer a version takes to write with its delta, and
a worker to make it of the one before, than to copy it.

    python benchmarks/weight_deltas.py [BILLIONS]
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
import zstandard
from contestants.measuring import shapes_of

from ralo_core.builtin.codecs import to_bfloat16
from ralo_core.data import DeltaLink
from ralo_core.deltas import BlockCodec, DeltaFile
from ralo_core.deltas.ulps import steps_between
from ralo_server.learner.publish.publisher import Publisher
from ralo_server.models.version_files import read_manifest
from ralo_worker.weights.deltas import Plan, apply

RATES = (1e-6, 1e-5)
STEPS = 8
SLICE = 1 << 19
CHAINS = (1, 2, 4, 8)
REAL_STEPS = 12
BETAS = (0.9, 0.999)


@attrs.define
class Total:
    """Totals over the slices of a synthetic model; bytes and CPU seconds by what they are of."""

    values: int = 0
    changed: int = 0
    by_one: int = 0
    size: dict[str, float] = attrs.field(factory=dict)
    seconds: dict[str, float] = attrs.field(factory=dict)

    def timed(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function`, adding its CPU time under `name`."""
        started = time.thread_time()
        result = function(*arguments)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - started
        return result

    def add(self, name: str, size: int) -> None:
        """Add bytes under `name`."""
        self.size[name] = self.size.get(name, 0.0) + size


def stepped(count: int, rate: float, seed: int) -> Iterator[np.ndarray]:
    """Yield the bfloat16 bits of `count` weights before and after each of `STEPS` AdamW steps.

    A weight's gradient is noise of a scale of its own (log-normal) around a mean of a fifth of it.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal() -> torch.Tensor:
        return torch.randn(count, generator=generator)

    weights = torch.nn.Parameter(normal() * 0.02)
    scale = torch.exp(2 * normal() - 14)
    mean = 0.2 * scale * normal()
    optimizer = torch.optim.AdamW([weights], lr=rate, betas=BETAS, weight_decay=0.0)
    # What is left of noise in the first moment: its variance times (1 - beta) / (1 + beta).
    spread = ((1 - BETAS[0]) / (1 + BETAS[0])) ** 0.5
    optimizer.state[weights] = {
        "step": torch.tensor(1000.0),
        "exp_avg": mean + spread * scale * normal(),
        "exp_avg_sq": (scale**2 + mean**2) * (1 - BETAS[1] ** 1000),
    }
    optimizer.state[weights]["exp_avg"] *= 1 - BETAS[0] ** 1000
    yield to_bfloat16(weights.detach().numpy())
    for _ in range(STEPS):
        weights.grad = mean + scale * normal()
        optimizer.step()
        yield to_bfloat16(weights.detach().numpy())


def measure_slice(versions: Sequence[np.ndarray], total: Total, codec: BlockCodec) -> None:
    """Add the deltas between neighbouring versions of a slice, and those that skip some."""
    old, new = versions[-2:]
    block, changed = total.timed("encode", codec.encode, old, new)
    values = old.copy()
    total.timed("decode", codec.apply, block, values)
    assert np.array_equal(values, new)
    xor = zstandard.ZstdCompressor(level=1)
    total.add("XOR + zstd", len(total.timed("xor", lambda: xor.compress((old ^ new).data))))
    steps = steps_between(old, new)
    total.values += old.size
    total.changed += changed
    total.by_one += int(((steps == 1) | (steps == 2)).sum())
    sizes = [codec.encode(*pair)[0].size for pair in zip(versions, versions[1:], strict=False)]
    for length in CHAINS:
        total.add(f"chain of {length}", sum(sizes[-length:]))
        total.add(f"one over {length}", codec.encode(versions[-1 - length], new)[0].size)


def synthetic(count: int, rate: float) -> None:
    """Print what deltas of `count` synthetic parameters are like."""
    total, codec = Total(), BlockCodec()
    for seed, start in enumerate(range(0, count, SLICE)):
        measure_slice(list(stepped(min(SLICE, count - start), rate, seed)), total, codec)
    full, share = 2 * total.values, total.changed / total.values
    by_one = total.by_one / total.changed
    print(f"\n{count / 1e9:g} B synthetic parameters, lr {rate:g}: {share:.2%} of them changed,")
    print(f"  {by_one:.1%} of those by one unit in the last place")
    for length in CHAINS:
        chain, one = (total.size[f"{name} {length}"] / full for name in ("chain of", "one over"))
        print(f"  {length} steps: deltas {chain:7.2%} of the full bytes, one would be {one:.2%}")
    ratio = total.size["XOR + zstd"] / total.size["chain of 1"]
    print(f"  XOR + zstd of one step: {ratio * total.size['chain of 1'] / full:.2%}, {ratio:.2f} x")
    for name, seconds in total.seconds.items():
        print(f"  {name}: {full / seconds / 1e6:.0f} MB of weights per second of one core")


def real(rate: float, folder: Path) -> None:
    """Print the sizes of the deltas of a real run of the tiny model."""
    settings = {
        "run.max_steps": REAL_STEPS, "learner.keep_last_versions": REAL_STEPS + 1,
        "optimizer.adamw.lr": rate, "optimizer.adamw.warmup_steps": 0, "evaluation.problems": 0,
        "learner.dtype": "bfloat16",
    }  # fmt: skip
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "ralo_core.cli.main", "run", "--plain", "--tiny"]
    command += ["--plugin", "grpo", "--run-dir", str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"\n{REAL_STEPS} real steps of the tiny model, lr {rate:g}:")
    shares = []
    for number in range(1, REAL_STEPS + 1):
        version = folder / "weights" / f"v{number:06d}"
        row, share = real_row(version)
        shares.append(share)
        print(f"  step {number:2}: {row}")
    print(f"  mean {np.mean(shares):.2%}, without the first {np.mean(shares[1:]):.2%}")


def real_row(folder: Path) -> tuple[str, float]:
    """Return a line on the delta of a version, and its share of the full bytes."""
    version = read_manifest(folder)
    weights = version.find("model.safetensors")
    assert weights is not None
    if not version.deltas:
        return "no delta", 1.0
    (delta,) = version.deltas
    header = DeltaFile(folder / delta.file.name).header
    changed = sum(change.changed for change in header.tensors.values())
    share = delta.file.size / weights.size
    return f"{share:7.2%} of the full bytes, {changed / (weights.size / 2):.2%} changed", share


def files(count: int, rate: float, folder: Path) -> None:
    """Print how long writing with a delta and making a version of a delta take."""
    (folder / "files").mkdir()
    shapes = shapes_of(count)
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(SLICE, generator=generator) * 0.02
    moved = block - rate * torch.randn(SLICE, generator=generator)

    def write(number: int, values: torch.Tensor, deltas: bool) -> float:
        slices = (
            values[: min(SLICE, size - start)]
            for size in (int(np.prod(shape)) for shape in shapes.values())
            for start in range(0, size, SLICE)
        )
        publisher = Publisher(folder / "files", torch.bfloat16, deltas=deltas)
        parent = folder / f"v{number - 1}" if number else None
        started = time.perf_counter()
        publisher.write(folder / f"v{number}", number, shapes, slices, {}, parent=parent)
        return time.perf_counter() - started

    write(0, block, deltas=False)
    alone = min(write(1, moved, deltas=False) for _ in range(3))
    both = min(write(1, moved, deltas=True) for _ in range(3))
    version = read_manifest(folder / "v1")
    link = DeltaLink(version=1, delta=version.deltas[0])

    def fetch(number: int, file: Any, path: Path) -> int:
        shutil.copyfile(folder / f"v{number}" / file.name, path)
        return int(file.size)

    def make() -> float:
        made = folder / "made"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        started = time.perf_counter()
        apply(version, made, Plan(folder / "v0", (link,)), fetch)
        return time.perf_counter() - started

    def copy() -> float:
        shutil.rmtree(folder / "copied", ignore_errors=True)
        started = time.perf_counter()
        subprocess.run(["cp", "-r", folder / "v1", folder / "copied"], check=True)
        return time.perf_counter() - started

    made, copied = min(make() for _ in range(3)), min(copy() for _ in range(3))
    megabytes = version.size / 1e6
    print(f"\n{count / 1e9:g} B parameters, lr {rate:g}, files on the disk:")
    print(f"  cast, write, hash and sync {alone:.2f} s, with the delta {both / alone:.2f} x that")
    print(f"  delta applied, written and hashed at {megabytes / made:.0f} MB/s, "
          f"{copied / made:.2f} x the speed of cp")  # fmt: skip


def main() -> None:
    """Measure and print everything."""
    torch.set_num_threads(1)
    count = round(float(sys.argv[1] if len(sys.argv) > 1 else 0.5) * 1e9)
    for rate in RATES:
        with tempfile.TemporaryDirectory(dir=".") as name:
            real(rate, Path(name) / "run")
        synthetic(count, rate)
    with tempfile.TemporaryDirectory(dir=".") as name:
        files(count, RATES[0], Path(name))


if __name__ == "__main__":
    main()
