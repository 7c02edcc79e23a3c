"""From the names of metrics and the responses to all items to the metrics with their intervals."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from ralo_core.errors import DataError
from ralo_core.options.metric_names import Metric, parse_metric
from ralo_core.user_functions import import_function
from ralo_server.evaluation.bootstrap import Estimate, estimate_means
from ralo_server.evaluation.item_result import ItemResult
from ralo_server.evaluation.scores import (
    common_samples,
    exact_match,
    majority,
    mean_correct,
    multiple_choice,
    pass_at,
)

Score = Callable[[ItemResult], float]

_BUILT_IN: dict[str, Callable[[ItemResult, int], float]] = {
    "accuracy": mean_correct,
    "mean": mean_correct,
    "pass": pass_at,
    "maj": majority,
    "exact_match": exact_match,
    "multiple_choice": multiple_choice,
}


def estimates(
    names: Sequence[str], results: Sequence[ItemResult], seed: int
) -> dict[str, Estimate]:
    """Return the metrics of `names`, with k filled in ("pass@k" of 8 responses is "pass@8").

    Raises `ValueError` for a name of no metric, for items with unequally many responses or fewer
    than a metric needs, and for no items; `DataError` for a function whose score is no number.
    """
    scores = load_scores(names, common_samples(results))
    values = [[score(item) for item in results] for score in scores.values()]
    found = estimate_means(np.array(values, np.float64), seed)
    return dict(zip(scores, found, strict=True))


def load_scores(names: Sequence[str], samples: int) -> dict[str, Score]:
    """Return the score of one item under each metric, by its full name.

    Raises `ValueError` as `estimates` does, `RaloError` for a function that cannot be imported:
    asked before a run begins, it says so in time.
    """
    metrics = [parse_metric(name).of(samples) for name in names]
    return {metric.name: _score(metric) for metric in metrics}


def _score(metric: Metric) -> Score:
    if metric.kind == "function":
        return _own_function(metric.name)
    score = _BUILT_IN[metric.kind]
    return lambda item: score(item, metric.k)


def _own_function(path: str) -> Score:
    """Return ``function(item: ItemResult) -> float``, checked at every call."""
    function: Callable[[ItemResult], Any] = import_function(path, "metrics")

    def score(item: ItemResult) -> float:
        value = function(item)
        if not isinstance(value, Real) or not math.isfinite(value):
            msg = (
                f"metric {path} must return a finite number for each item, got {value!r} for "
                f"item {item.problem.id!r}"
            )
            raise DataError(msg)
        return float(value)

    return score
