"""The results of evaluations as views need them: by benchmark, and each in a few words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

HELD_OUT = "held_out"


def by_benchmark(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the results of each benchmark by version, the held-out problems first; those of
    versions that a rollback left behind are left out."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if not result.get("abandoned"):
            found.setdefault(result["benchmark"], []).append(result)
    return dict(sorted(found.items(), key=lambda entry: entry[0] != HELD_OUT))


def title(benchmark: str) -> str:
    """Return what a benchmark is called before a number."""
    return "held-out greedy" if benchmark == HELD_OUT else benchmark


def headline(result: Result) -> tuple[str, float]:
    """Return name and value of the first metric, an accuracy where there is one."""
    metrics = result["metrics"]
    name = "accuracy" if "accuracy" in metrics else next(iter(metrics), "")
    return name, metrics[name]["value"] if name else float("nan")


def newest(results: Iterable[Result]) -> Sequence[Result]:
    """Return the newest result of each benchmark."""
    return [rows[-1] for rows in by_benchmark(results).values()]
