"""How well the numbers of a law are known: a parametric bootstrap.

The fitted law makes new values at the same compute, with normal noise, and a law is fitted to each
of them. The size of the noise was estimated from as few points as the law, so it is drawn, too:
s^2 (N - p) / chi^2(N - p), as in Student's t. Resampling the residuals themselves would need more
of them than an evaluation every few steps gives.

The noise is that of the evaluation and of the training together, and as large everywhere. It may
have a memory: all versions answer the same problems, and a run that is lucky stays so for a while.
Where the errors of neighbours are alike those of the replicates are, too (an autoregression of
order one); otherwise intervals would be as narrow as if every point were a new run.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from ralo_server.scaling.law import Law, Values
from ralo_server.scaling.least_squares import Fitter, Points, unfitted

REPLICATES = 300
_LONGEST_MEMORY = 0.9
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
    """Return `count` replicates of the `law` that was fitted to `points`, which are in the order of
    their compute and more than its numbers."""
    random = np.random.default_rng(seed)
    fitter, clean = Fitter(points), law(points.compute)
    freedom = len(clean) - points.free
    scatter = np.sqrt(unfitted(points, law) / random.chisquare(freedom, count))
    memory = _memory(points.values - clean, points.free)
    noise = _remembering(random.standard_normal((count, len(clean))), memory)
    return Replicates(
        law, [fitter.best(clean + each, starts=1) for each in scatter[:, None] * noise]
    )


def _memory(errors: Values, free: int) -> float:
    """Return how much of an error [N] is in the next one, 0 to `_LONGEST_MEMORY`.

    A curve with `free` numbers follows its points, so that errors without memory alternate: what
    that takes away, about free / N, is given back.
    """
    squares = float((errors**2).sum())
    if squares == 0.0:
        return 0.0
    found = float((errors[1:] * errors[:-1]).sum()) / squares
    return float(np.clip(found + free / len(errors), 0.0, _LONGEST_MEMORY))


def _remembering(noise: Values, memory: float) -> Values:
    """Return noise [K, N] of the same size in which each value has `memory` of the one before."""
    made = noise.copy()
    for number in range(1, noise.shape[1]):
        fresh = np.sqrt(1 - memory**2) * noise[:, number]
        made[:, number] = memory * made[:, number - 1] + fresh
    return made
