"""Flattened tensors in slices, and the sum of squares of one: used by validation and by the step.

Both walk every value of a gradient and must not hold a whole tensor, so that their memory does not
grow with the model. How long a slice is, they decide for themselves.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 12
"""Values that are added up in float32: few enough to keep six digits."""


def slices(size: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the slices of a parameter of `size` values, each of at most `most`."""
    for start in range(0, size, most):
        yield start, min(start + most, size)


def sum_of_squares(values: npt.NDArray[np.float32]) -> float:
    """Return the sum of the squares of float32[n]: float32 within a short block, float64 across
    blocks, which is as fast as memory.

    It is not finite if and only if one of the values is not. Squares of values below 1e-22 count
    as 0.
    """
    # float64 throughout takes ten times as long, float32 throughout loses the sixth digit.
    whole = len(values) - len(values) % _BLOCK
    blocks = values[:whole].reshape(-1, _BLOCK)
    rest = values[np.newaxis, whole:]
    total = math.fsum(
        float(np.einsum("ij,ij->i", part, part).sum(dtype=np.float64)) for part in (blocks, rest)
    )
    if math.isfinite(total):
        return total
    # Squares of values above 1.8e19 overflow in float32 but not in float64.
    return float(np.einsum("i,i->", values, values, dtype=np.float64))
