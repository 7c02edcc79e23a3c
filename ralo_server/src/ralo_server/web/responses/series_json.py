"""Series of metrics as the JSON of ``/series`` and ``/runs/series``."""

import math
from typing import Any

import attrs
import falcon

from ralo_core.messages.series import Series
from ralo_server.store.views.step_history import Float64, StepHistory

_MOST_NAMES = 64
_DEFAULT_POINTS, _MOST_POINTS = 400, 10_000
_DIGITS = 6
"""Significant: more than a picture shows, and half the bytes of all of them."""


@attrs.frozen(kw_only=True)
class SeriesQuery:
    """What is asked for: at most `points` of each of `names`, of the steps after `after` and up to
    `until`, unless that is None."""

    names: list[str]
    points: int
    after: int
    until: int | None


def series_query(request: falcon.Request) -> SeriesQuery:
    """Return the parameters of a request for series; raises 400 for what is none."""
    names = list(dict.fromkeys(request.get_param_as_list("names", required=True, delimiter=",")))
    if len(names) > _MOST_NAMES:
        raise falcon.HTTPInvalidParam(f"at most {_MOST_NAMES} at once, got {len(names)}", "names")
    return SeriesQuery(
        names=names,
        points=request.get_param_as_int(
            "points", default=_DEFAULT_POINTS, min_value=1, max_value=_MOST_POINTS
        ),
        after=request.get_param_as_int("after", default=0, max_value=1 << 53),
        until=request.get_param_as_int("until", max_value=1 << 53),
    )


def series_json(history: StepHistory, query: SeriesQuery) -> dict[str, Any]:
    """Return a `Series` as JSON."""
    found = history.series(query.names, query.points, query.after, query.until)
    series = Series(
        last_step=found.last_step,
        steps=tuple(found.steps.tolist()),
        series={name: _numbers(values) for name, values in found.values.items()},
    )
    # Not recursive: the fields are plain, and up to 640,000 numbers would be looked at one by one.
    return attrs.asdict(series, recurse=False)


def _numbers(values: Float64) -> tuple[float | None, ...]:
    return tuple(
        float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()
    )
