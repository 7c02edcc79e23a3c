"""The law of least squared error through measured points: bounded, in log-compute, many starts.

For a given middle and steepness the law is linear in R0 and in the rise A - R0. So a grid over the
former two, where the latter follow by linear regression, shows every valley of the error; from the
lowest ones scipy's bounded least squares descends in all numbers at once.

There is always a best law. Whether the points determine it is another question (`verdict`).
"""

from collections.abc import Sequence

import attrs
import numpy as np
from scipy.optimize import least_squares

from ralo_server.scaling.law import Law, Values, log, rise

_FLATTEST, _STEEPEST = 0.05, 20.0
_BEYOND = float(np.log(100.0))
"""The middle may lie so far outside the measured compute."""
_MOST_RISE = 10.0
"""Times the range of the measured values."""
_LONGEST_DESCENT = 100
"""Where nothing is determined the valley has no bottom."""
_INSIDE = 1e-9
"""A descent must not start on a bound."""
_GRID = (32, 14)
"""Middles and steepnesses that are tried."""
_STARTS = 4


@attrs.frozen(eq=False)
class Points:
    """Values R measured at compute C, each [N], C at least 0; `start` is R0 where it is known."""

    compute: Values
    values: Values
    start: float | None = None

    @property
    def free(self) -> int:
        """How many numbers of the law are to be found."""
        return 4 if self.start is None else 3

    @property
    def spent(self) -> Values:
        """The compute of the points that have some: the others tell of R0 only."""
        return self.compute[self.compute > 0]


class Fitter:
    """Fits the law at the compute of `points`, to any values there."""

    def __init__(self, points: Points) -> None:
        self._start = points.start
        self._log = log(points.compute)
        spent = np.log(points.spent)
        middles = np.linspace(spent.min() - _BEYOND / 4, spent.max() + _BEYOND / 4, _GRID[0])
        steepness = np.log(np.geomspace(_FLATTEST, _STEEPEST, _GRID[1]))
        self._grid = np.stack(np.meshgrid(middles, steepness, indexing="ij"), -1).reshape(-1, 2)
        self._shares = rise(self._log, self._grid[:, :1], np.exp(self._grid[:, 1:]))

    def best(self, values: Values, starts: int = _STARTS) -> Law:
        """Return the law of least squared error to `values` [N]."""
        unit = float(np.ptp(values)) or 1.0
        begin = None if self._start is None else self._start / unit
        problem = _Problem(self._log, values / unit, begin)
        found = [problem.descend(start) for start in self._valleys(problem, starts)]
        _, theta = min(found, key=lambda each: each[0])
        begin, height, middle, steepness = theta
        return Law(
            A=unit * (begin + height),
            R0=unit * begin if self._start is None else self._start,
            C_mid=float(np.exp(middle)),
            B=float(np.exp(steepness)),
        )

    def _valleys(self, problem: "_Problem", count: int) -> Sequence[Values]:
        """Return starting points from the lowest cells of the grid, of different steepness."""
        begin, height = problem.regress(self._shares)
        misses = begin[:, None] + height[:, None] * self._shares - problem.values
        errors = (misses**2).sum(1).reshape(_GRID)
        cells = np.argmin(errors, 0) * _GRID[1] + np.arange(_GRID[1])
        lowest = cells[np.argsort(errors.min(0))][:count]
        return [np.array([begin[cell], height[cell], *self._grid[cell]]) for cell in lowest]


@attrs.frozen(eq=False)
class _Problem:
    """Least squares in theta = (R0, A - R0, ln C_mid, ln B), of `values` whose range is 1."""

    log: Values
    values: Values
    start: float | None

    def regress(self, shares: Values) -> tuple[Values, Values]:
        """Return R0 and the rise of least error, each [G], of laws with the `shares` [G, N]."""
        if self.start is None:
            centred = shares - shares.mean(1, keepdims=True)
            height = centred @ self.values / np.maximum((centred**2).sum(1), 1e-12)
        else:
            height = shares @ (self.values - self.start) / np.maximum((shares**2).sum(1), 1e-12)
        height = np.clip(height, 0.0, _MOST_RISE)
        if self.start is not None:
            return np.full(len(shares), self.start), height
        return self.values.mean() - height * shares.mean(1), height

    def descend(self, theta: Values) -> tuple[float, Values]:
        """Return squared error and theta at the bottom of the valley around `theta`."""
        free = slice(0 if self.start is None else 1, None)
        low, high = self._bounds()
        found = least_squares(
            self._misses,
            np.clip(theta, low + _INSIDE, high - _INSIDE)[free],
            self._slopes,
            bounds=(low[free], high[free]),
            x_scale="jac",
            max_nfev=_LONGEST_DESCENT,
        )
        return float(found.cost), self._whole(found.x)

    def _whole(self, free: Values) -> Values:
        """Return theta, of which R0 may be known."""
        return free if self.start is None else np.concatenate([[self.start], free])

    def _bounds(self) -> tuple[Values, Values]:
        spent = self.log[np.isfinite(self.log)]
        begin = self.values.min() if self.start is None else self.start
        low = np.array([begin - _MOST_RISE, 0.0, spent.min() - _BEYOND, np.log(_FLATTEST)])
        high = np.array([begin + _MOST_RISE, _MOST_RISE, spent.max() + _BEYOND, np.log(_STEEPEST)])
        return low, high

    def _misses(self, free: Values) -> Values:
        theta = self._whole(free)
        misses: Values = theta[0] + theta[1] * rise(self.log, theta[2], np.exp(theta[3]))
        return misses - self.values

    def _slopes(self, free: Values) -> Values:
        """Return the derivatives of the misses, [N, free]; at C = 0 those but R0's are 0."""
        theta = self._whole(free)
        steepness = np.exp(theta[3])
        share = rise(self.log, theta[2], steepness)
        slope = theta[1] * steepness * share * (1.0 - share)
        away = np.where(np.isfinite(self.log), self.log - theta[2], 0.0)
        columns = [np.ones_like(share), share, -slope, slope * away]
        return np.stack(columns[4 - len(free) :], 1)


def best_law(points: Points) -> Law:
    """Return the law of least squared error through `points`."""
    return Fitter(points).best(points.values)


def unfitted(points: Points, law: Law) -> float:
    """Return the sum of squared errors of `law`."""
    return float(((law(points.compute) - points.values) ** 2).sum())


def at_bound(law: Law) -> bool:
    """Say whether the steepness is as low or as high as it may be."""
    return not 1.01 * _FLATTEST < law.B < 0.99 * _STEEPEST
