"""Normalisation over all response tokens of a batch, as in REINFORCE++ (Hu 2025).

For advantage estimators of plugins: it knows values, and how many tokens each stands for.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def whitened(
    values: Sequence[Float64], tokens: Sequence[npt.NDArray[np.int64]], eps: float
) -> list[Float64]:
    """Return ``(A - mean) / sqrt(var + eps)``, each value counted as often as it has tokens.

    `values` and `tokens` have the same shapes, one array per tree. The variance is unbiased.
    Without any spread (or with a single token) everything is 0.
    """
    flat = np.concatenate([value.ravel() for value in values])
    weight = np.concatenate([count.ravel() for count in tokens]).astype(np.float64)
    total = weight.sum()
    mean = (flat * weight).sum() / total
    squares = ((flat - mean) ** 2 * weight).sum()
    if total < 2 or squares == 0:
        return [np.zeros_like(value) for value in values]
    scale = np.sqrt(squares / (total - 1) + eps)
    return [(value - mean) / scale for value in values]
