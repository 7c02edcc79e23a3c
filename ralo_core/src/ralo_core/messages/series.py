"""Metrics of all steps, for charts."""

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Series:
    """Reply of ``GET /series`` and ``GET /runs/series``.

    `last_step` is the newest step, 0 before the first; `steps` the last step of each bucket;
    `series` has per name the mean of each bucket, None where no step of it has the metric.
    """

    last_step: int
    steps: tuple[int, ...]
    series: Mapping[str, tuple[float | None, ...]]


@attrs.frozen(kw_only=True)
class MetricNames:
    """Reply of ``GET /series/names``: all metrics that any step has."""

    names: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StepEvent:
    """Data of the event ``step`` of ``GET /events``."""

    step: int
    metrics: Mapping[str, float | None]
