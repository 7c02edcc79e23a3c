"""The built-in aggregators: `token_mean`, `staleness_mean`, `trimmed_mean`, `diloco`.

The learner asks for the weights once per step and combines slice by slice, with numpy alone.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ralo_core import BuildContext
from ralo_core.protocols import GradientInfo
from ralo_server.aggregators.settings import (
    DilocoSettings,
    StalenessMeanSettings,
    TrimmedMeanSettings,
)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class TokenMean:
    """``sum(tokens * gradient) / sum(tokens)``: as if all tokens had been in one batch."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        """Take no options."""

    def weigh(self, gradients: Sequence[GradientInfo], current_version: int) -> Sequence[float]:
        """Return the trained tokens of each gradient."""
        return [gradient.weight for gradient in gradients]

    def combine(self, values: Float32, weights: Float64) -> Float32:
        """Return the weighted mean, float32[n] of float32[K, n]."""
        return weighted_mean(values, weights)


class StalenessMean:
    """A token mean in which a gradient counts the less, the older the version it was made at."""

    def __init__(self, settings: StalenessMeanSettings, context: BuildContext) -> None:
        self._power, self._bound = settings.power, settings.max_staleness

    def weigh(self, gradients: Sequence[GradientInfo], current_version: int) -> Sequence[float]:
        """Return ``tokens / (1 + lag) ** power``, 0 where the lag is above the bound."""
        lags = [current_version - gradient.base_version for gradient in gradients]
        return [
            gradient.weight / (1.0 + lag) ** self._power if lag <= self._bound else 0.0
            for gradient, lag in zip(gradients, lags, strict=True)
        ]

    def combine(self, values: Float32, weights: Float64) -> Float32:
        """Return the weighted mean, float32[n] of float32[K, n]."""
        return weighted_mean(values, weights)


class TrimmedMean:
    """The mean of every coordinate without its largest and smallest values (Yin et al. 2018).

    What a few broken or hostile gradients say is dropped, wherever it is extreme. All gradients
    count the same: a claimed number of tokens must not buy influence.
    """

    def __init__(self, settings: TrimmedMeanSettings, context: BuildContext) -> None:
        self._trim = settings.trim

    def weigh(self, gradients: Sequence[GradientInfo], current_version: int) -> Sequence[float]:
        """Return 1 for every gradient."""
        return [1.0 for _ in gradients]

    def combine(self, values: Float32, weights: Float64) -> Float32:
        """Return float32[n] of float32[K, n], ``trim * K`` values dropped per side, rounded down;
        at least the median is left."""
        count = len(values)
        dropped = min(int(self._trim * count + 1e-9), (count - 1) // 2)
        kept = np.sort(values, axis=0)[dropped : count - dropped]
        return np.asarray(kept.mean(axis=0), np.float32)


class Diloco:
    """The mean of pseudo-gradients: each trainer's way counts the same, however many tokens its
    steps had (Douillard et al. 2023, algorithm 1, line 12)."""

    def __init__(self, settings: DilocoSettings, context: BuildContext) -> None:
        self._bound = settings.max_staleness

    def weigh(self, gradients: Sequence[GradientInfo], current_version: int) -> Sequence[float]:
        """Return 1 for every pseudo-gradient, 0 where the lag is above the bound."""
        return [float(current_version - each.base_version <= self._bound) for each in gradients]

    def combine(self, values: Float32, weights: Float64) -> Float32:
        """Return the mean, float32[n] of float32[K, n]."""
        return weighted_mean(values, weights)


def weighted_mean(values: Float32, weights: Float64) -> Float32:
    """Return ``sum(weights * values) / sum(weights)`` over the first axis, in float32."""
    # One after the other, not as a matrix product: the result then is the same on any number of
    # threads, and a run can be replayed bit for bit.
    shares = (weights / weights.sum()).astype(np.float32)
    total: Float32 = values[0] * shares[0]
    for value, share in zip(values[1:], shares[1:], strict=True):
        total += value * share
    return total
