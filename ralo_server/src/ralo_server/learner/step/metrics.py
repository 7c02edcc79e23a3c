"""What a step reports, computed from the trees and gradients it consumed.

The names are those of `docs/metrics.md`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ralo_server.learner.step.tree_diagnostics import tree_diagnostics
from ralo_server.store.gradients import PendingGradient

Tree = tuple[int, Mapping[str, Any]]
"""Oldest version in the tree, and `ralo_server.store.tree_facts` of it."""


def tree_metrics(trees: Sequence[Tree]) -> dict[str, float]:
    """Return means over leaves, `reward`, `reward/<part>` and `response_tokens`, the share of those
    that are `solved`, and the diagnostics of the trees."""
    leaves = sum(summary["leaves"] for _, summary in trees)
    sums: dict[str, float] = defaultdict(float)
    for _, summary in trees:
        sums["reward"] += summary["reward"]
        sums["response_tokens"] += summary["leaf_tokens"]
        for name, value in summary["parts"].items():
            sums[f"reward/{name}"] += value
    means = {name: value / leaves for name, value in sums.items()}
    return {**means, **_solved(trees), **tree_diagnostics([summary for _, summary in trees])}


def _solved(trees: Sequence[Tree]) -> dict[str, float]:
    # A tree that was queued by an earlier release does not say it.
    known = [summary for _, summary in trees if summary.get("solved") is not None]
    leaves = sum(summary["leaves"] for summary in known)
    return {"solved": sum(summary["solved"] for summary in known) / leaves} if known else {}


def throughput(metrics: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Return what of a step's `metrics` went by per second, of the `seconds` since the last one."""
    if seconds <= 0:
        return {}
    return {
        "tokens_per_second": metrics.get("decoded_tokens", metrics["tokens"]) / seconds,
        "rollouts_per_second": metrics["rollouts"] / seconds,
    }


def tree_totals(trees: Sequence[Tree]) -> dict[str, int]:
    """Return how many `trees`, `rollouts` and `tokens` of them there are."""
    return {
        "trees": len(trees),
        "rollouts": sum(summary["leaves"] for _, summary in trees),
        "tokens": sum(summary["leaf_tokens"] for _, summary in trees),
    }


def gradient_metrics(
    gradients: Sequence[PendingGradient], trees: Mapping[str, Sequence[Tree]], version: int
) -> dict[str, float]:
    """Return the loss metrics averaged by weight, and how stale the work was.

    `staleness` is the mean over trees of the gradient's base version minus the oldest version
    in the tree, `gradient_staleness` the mean of `version` minus base version.
    """
    ages = [
        gradient.facts.base_version - oldest
        for gradient in gradients
        for oldest, _ in trees[gradient.batch_id]
    ]
    lags = [version - gradient.facts.base_version for gradient in gradients]
    return {
        **averaged_metrics(gradients),
        "staleness": sum(ages) / len(ages),
        "gradient_staleness": sum(lags) / len(lags),
    }


def averaged_metrics(gradients: Sequence[PendingGradient]) -> dict[str, float]:
    """Return what the trainers say of `gradients`, averaged by their weight."""
    names = {name for gradient in gradients for name in gradient.metrics}
    return {name: _weighted_mean(name, gradients) for name in sorted(names)}


def _weighted_mean(name: str, gradients: Sequence[PendingGradient]) -> float:
    """Return the mean of a metric over the gradients that have it: one may leave out what was
    not finite."""
    known = [gradient for gradient in gradients if name in gradient.metrics]
    weight = sum(gradient.facts.weight for gradient in known)
    return sum(gradient.facts.weight * gradient.metrics[name] for gradient in known) / weight
