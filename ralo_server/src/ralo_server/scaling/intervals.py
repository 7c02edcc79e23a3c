"""How well the numbers of a law are known: a parametric bootstrap.

The law that was found makes new values at the same compute, with normal noise, and is fitted to
each of them. How large the noise is has been learnt from as few points as the law, so its size is
drawn, too: s^2 (N - p) / chi^2(N - p), as in Student's t. Resampling the residuals themselves would
need more of them than an evaluation every few steps gives. The noise is that of the evaluation and
of the training together, and taken to be the same everywhere.

Neighbours: `least_squares` fits; `verdict` and the plot read the replicates.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from ralo_server.scaling.law import Law, Values
from ralo_server.scaling.least_squares import Fitter, Points, unfitted

REPLICATES = 300
_COVERED = (0.025, 0.975)
_NAMES = ("A", "R0", "C_mid", "B")


@attrs.frozen(kw_only=True)
class Interval:
    """A value and where 95 % of its replicates lie."""

    value: float
    low: float
    high: float


@attrs.frozen(eq=False)
class Replicates:
    """The `law` and those that were fitted to it with noise."""

    law: Law
    others: Sequence[Law]

    def intervals(self) -> dict[str, Interval]:
        """Return A, R0, C_mid and B with their intervals."""
        return {name: self._interval(name) for name in _NAMES}

    def band(self, compute: Values) -> tuple[Values, Values]:
        """Return where 95 % of the curves lie at each of `compute`."""
        curves = np.stack([law(compute) for law in self.others])
        low, high = np.quantile(curves, _COVERED, axis=0)
        return low, high

    def _interval(self, name: str) -> Interval:
        low, high = np.quantile([getattr(law, name) for law in self.others], _COVERED)
        return Interval(value=float(getattr(self.law, name)), low=float(low), high=float(high))


def replicates(points: Points, law: Law, count: int = REPLICATES, seed: int = 0) -> Replicates:
    """Return `count` replicates of the `law` that was fitted to `points`, which are more than its
    numbers."""
    random = np.random.default_rng(seed)
    freedom = len(points.values) - points.free
    fitter, clean = Fitter(points), law(points.compute)
    scatter = np.sqrt(unfitted(points, law) / random.chisquare(freedom, count))
    noise = scatter[:, None] * random.standard_normal((count, len(clean)))
    return Replicates(law, [fitter.best(clean + each, starts=1) for each in noise])
