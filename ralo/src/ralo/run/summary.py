"""The closing words of a run: what it reached, where the weights are, how to continue it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ralo.run.stats import Stats
from ralo.views.results import Result, by_benchmark, headline, title
from ralo.views.view import clock

_EDGE = 5
"""First and last reward are means over this many steps, for a single step is noisy."""


def summary(stats: Stats, run_dir: Path, command: Sequence[str]) -> list[str]:
    """Return the lines; `command` continues the run."""
    lines = [
        f"run {stats['run']}: {stats['state']} after {stats['step']} steps "
        f"in {clock(stats['elapsed_seconds'])}"
    ]
    rewards = [step["reward"] for step in stats["steps"] if step.get("reward") is not None]
    if rewards:
        first, last = rewards[:_EDGE], rewards[-_EDGE:]
        lines.append(
            f"reward: {sum(first) / len(first):.3f} at first, {sum(last) / len(last):.3f} at last"
        )
    lines += _result_lines(stats)
    tokens, rollouts = stats["tokens"], stats["rollouts"]
    lines.append(
        f"decoded {tokens['decoded']:,} tokens in {rollouts['sampled']:,} rollouts, "
        f"trained on {rollouts['trained']:,}"
    )
    if skipped := stats["trees"]["skipped"]:
        lines.append(f"skipped {skipped:,} trees whose rollouts all had the same reward")
    weights = run_dir / "weights" / f"v{stats['version']:06d}"
    lines.append(f"weights: {weights} (a Hugging Face model directory)")
    if stats.get("last_error"):
        lines.append(f"last error: {stats['last_error']}")
    lines.append(f"continue with: {shlex.join(command)}")
    return lines


def _result_lines(stats: Stats) -> list[str]:
    return [
        _result_line(title(benchmark), rows)
        for benchmark, rows in by_benchmark(stats["evaluations"]).items()
    ]


def _result_line(name: str, rows: Sequence[Result]) -> str:
    first, last = rows[0], rows[-1]
    metric, value = headline(last)
    if len(rows) == 1:
        return f"{name} {metric}: {value:.1%} at version {last['version']}"
    return (
        f"{name} {metric}: {headline(first)[1]:.1%} -> {value:.1%} "
        f"(version {first['version']} -> {last['version']}, {last['items']} problems)"
    )
