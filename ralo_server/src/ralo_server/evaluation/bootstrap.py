"""Means over items with 95 % intervals, by resampling the items.

All metrics see the same resamples, and so do all versions of a run (same seed, same number of
items): differences between them are paired.
"""

import attrs
import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
_LEVELS = (2.5, 97.5)
_AT_ONCE = 2**20
"""Items drawn at a time: 8 MiB, however many there are."""


@attrs.frozen(kw_only=True)
class Estimate:
    """A metric over the items of a benchmark with its 95 % interval.

    The interval says how far another draw of such items could be off; where all items score the
    same it has no width.
    """

    value: float
    low: float
    high: float


def estimate_means(scores: npt.NDArray[np.float64], seed: int) -> list[Estimate]:
    """Return the mean of each row of `scores` float64[metrics, items], with percentile intervals
    of the bootstrap (Efron 1979) over the columns."""
    means = scores.mean(axis=1)
    low, high = np.percentile(_resampled_means(scores, seed), _LEVELS, axis=1)
    rows = zip(means.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Estimate(value=mean, low=left, high=right) for mean, left, right in rows]


def _resampled_means(scores: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Return float64[metrics, RESAMPLES]."""
    random, items = np.random.default_rng(seed), scores.shape[1]
    chunk = max(1, _AT_ONCE // items)
    means = np.empty((len(scores), RESAMPLES))
    for start in range(0, RESAMPLES, chunk):
        stop = min(start + chunk, RESAMPLES)
        drawn = random.integers(items, size=(stop - start, items))
        for row, score in enumerate(scores):
            means[row, start:stop] = score[drawn].mean(axis=1)
    return means
