"""A scaling law through measured points, with intervals and a band, or why there is none."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from ralo_server.scaling.intervals import REPLICATES, Interval, Replicates, replicates
from ralo_server.scaling.law import Law
from ralo_server.scaling.least_squares import Points, best_law
from ralo_server.scaling.verdict import out_of_range, too_little, too_wide, without_shape

Measured = Sequence[tuple[float, float]]
"""(C, R): compute and value; C = 0 is what there was before any training."""
Banded = tuple[float, float, float, float]
"""(C, R, low, high) of the curve and its 95 % band."""

_CURVE_POINTS = 80
_AHEAD = 4.0
"""The curve is drawn up to so many times the largest compute."""


@attrs.frozen(kw_only=True)
class Fit:
    """The numbers of the law by name, and its curve; or none, and why it was `refused`."""

    numbers: Mapping[str, Interval] | None = None
    refused: str = ""
    curve: Sequence[Banded] = ()

    def document(self) -> dict[str, Any]:
        """Return it as ``GET /eval/fit`` does."""
        known = self.numbers or {}
        numbers = {name: attrs.asdict(each) for name, each in known.items()}
        return {
            "fit": numbers or None,
            "refused": self.refused,
            "curve": [list(row) for row in self.curve],
        }


def fit(
    measured: Measured, *, start: float | None = None, count: int = REPLICATES, seed: int = 0
) -> Fit:
    """Return the law through `measured`, by `count` replicates; with `start`, R0 is that value.

    Without `start` a point at C = 0 is one of R0, with the noise of all points.
    """
    rows = np.asarray(measured, np.float64).reshape(-1, 2)
    if start is not None:
        rows = rows[rows[:, 0] > 0]
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    points = Points(rows[:, 0], rows[:, 1], start)
    reason = too_little(points)
    if reason:
        return Fit(refused=reason)
    law = best_law(points)
    reason = without_shape(points, law) or out_of_range(points, law)
    if reason:
        return Fit(refused=reason)
    found = replicates(points, law, count, seed)
    reason = too_wide(found)
    if reason:
        return Fit(refused=reason)
    return Fit(numbers=found.intervals(), curve=_curve(points, law, found))


def _curve(points: Points, law: Law, found: Replicates) -> list[Banded]:
    spent = points.spent
    compute = np.geomspace(spent.min(), _AHEAD * spent.max(), _CURVE_POINTS)
    low, high = found.band(compute)
    columns = (compute, law(compute), low, high)
    return [tuple(map(float, row)) for row in zip(*columns, strict=True)]  # type: ignore[misc]
