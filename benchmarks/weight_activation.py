"""From a committed step to the first token with its weights: where the time goes.

A real run on this machine: ``ralo serve`` and ``ralo train`` in processes of their own, the sampler
in this one, so that every version's way is seen. It follows the versions, brings each to the node's
cache while the engine decodes, and swaps it in; only the last of these makes decoding pause.
Learner, trainer and sampler share the machine's cores, which they do not in a run, and all
connections are loopback. The parts are those of `VersionDelay`; `notice` begins when the version's
files begin to be committed, so it holds what the learner still does then.

    python benchmarks/weight_activation.py [--model DIRECTORY] [--engine NAME] \\
        [--versions N] [--set SECTION.KEY=VALUE]
"""

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from ralo_core.client import Connection
from ralo_core.data import EngineReport, VersionDelay, WeightsReport
from ralo_worker.membership import join
from ralo_worker.sampler.runtime import SECTIONS, Sampler

SETTINGS = (
    "server.port=0", "run.max_minutes=0", "evaluation.problems=0", "sampler.threads=1",
    "trainer.threads=1", "server.queued_trees=100000",
)  # fmt: skip
"""The queue is never full: an engine that has no requests decodes no first token."""
PARTS = ("notice", "staging", "activation", "first_token", "total")
START_SECONDS = 120.0


@contextmanager
def served(root: Path, model: Path, settings: Sequence[str]) -> Iterator[str]:
    """Run an orchestrator and a trainer; give the orchestrator's URL."""
    url_file = root / "run" / "server.url"
    options = [part for s in (f"run.model={model}", *settings) for part in ("--set", s)]
    serve = ["--plugin", "grpo", "--tiny", "--run-dir", str(root / "run"), *options]
    processes = [ralo("serve", *serve)]
    try:
        deadline = time.monotonic() + START_SECONDS
        while not url_file.exists():
            if processes[0].poll() is not None or time.monotonic() > deadline:
                raise SystemExit("ralo serve did not start")
            time.sleep(0.1)
        url = url_file.read_text().strip()
        processes.append(ralo("train", "--server", url))
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def ralo(*arguments: str) -> subprocess.Popen[bytes]:
    """Start ``ralo`` with these arguments."""
    return subprocess.Popen([sys.executable, "-m", "ralo_core.cli.main", *arguments])


async def sample(url: str, versions: int) -> tuple[list[VersionDelay], WeightsReport, EngineReport]:
    """Sample until a token was decoded with so many versions; return their delays and what the
    sampler would have reported."""
    member = await asyncio.to_thread(
        join, Connection(url=url), "sampler", SECTIONS, threading.Event()
    )
    sampler = Sampler(member)

    async def stop_when_enough() -> None:
        while not hasattr(sampler, "weights") or len(sampler.weights.delays) < versions:
            await asyncio.sleep(0.1)
        sampler.stop()

    await asyncio.gather(sampler.run(), stop_when_enough())
    engine = member.activity.engine
    assert engine is not None  # it has decoded
    return list(sampler.weights.delays), member.activity.weights, engine


def table(delays: Sequence[VersionDelay]) -> str:
    """Return the parts of every version in milliseconds, their median, and their share of it."""
    rows = np.array([[getattr(delay, part) for part in PARTS] for delay in delays]) * 1000
    lines = [f"{'version':>8}" + "".join(f"{f'{part} ms':>15}" for part in PARTS)]
    named = [(str(delay.version), row) for delay, row in zip(delays, rows, strict=True)]
    for name, row in [*named, ("median", np.median(rows, axis=0)), ("worst", rows.max(axis=0))]:
        lines.append(f"{name:>8}" + "".join(f"{value:15.1f}" for value in row))
    shares = rows.sum(axis=0) / rows[:, -1].sum()
    lines.append(f"{'share':>8}" + "".join(f"{share:15.2f}" for share in shares))
    return "\n".join(lines)


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Default: the tiny one, made anew.")
@click.option("--engine", default="transformers", help="Inference engine of the sampler.")
@click.option("--versions", default=12, help="Versions to follow.")
@click.option("--set", "more", multiple=True, help="Further settings of the run.")
def main(model: Path | None, engine: str, versions: int, more: Sequence[str]) -> None:
    """Follow the versions of a run and print where the time went."""
    with tempfile.TemporaryDirectory(prefix="ralo-bench-") as root:
        if model is None:
            model = Path(root) / "model"
            ralo("model", "tiny", str(model)).wait()
        started = time.monotonic()
        with served(Path(root), model, (*SETTINGS, f"engine.use={engine}", *more)) as url:
            delays, weights, used = asyncio.run(sample(url, versions))
        seconds = time.monotonic() - started
    print(table(delays))
    pause = weights.pause_seconds / max(1, weights.activations)
    print(
        f"{engine}: {weights.activations} activations, decoding paused {pause * 1000:.1f} ms for "
        f"each, {weights.pause_seconds / seconds:.4f} of the run; {weights.bytes / 1e6:.1f} MB "
        f"fetched in {weights.staging_seconds:.2f} s; at the end {used.tokens_per_second:.0f} "
        f"tokens/s, {used.utilisation:.2f} of the engine used"
    )


if __name__ == "__main__":
    main()
