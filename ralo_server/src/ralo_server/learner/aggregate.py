"""Combines the gradients of a step, slice by slice, each file read once.

Neighbours: the aggregation policy says how, `gradient_file` decodes, `master` takes the result.
Files were checked at the door by `gradient_checks`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ralo_core.protocols import AggregationPolicy, GradientCodec
from ralo_server.gradient_file import GradientFile

_LARGEST, _SMALLEST = 1 << 20, 1 << 16
_BLOCK = 1 << 12
_BUDGET = 1 << 24
"""Values of all gradients together that are decoded at a time: 64 MiB as float32."""


def combine_gradients(
    terms: Sequence[tuple[Path, float]],
    codec: GradientCodec,
    policy: AggregationPolicy,
    shapes: Mapping[str, tuple[int, ...]],
    put: Callable[[str, int, Tensor], None],
) -> float:
    """Combine (file, weight above 0) `terms` and return the L2 norm of the result.

    The result goes slice by slice to `put`: name of the parameter, start, float32[n]. Raises
    `WireError` for a file that is not what was checked at the door.
    """
    files = [GradientFile(path, shapes, codec) for path, _ in terms]
    weights = np.asarray([weight for _, weight in terms])
    size = slice_values(len(files))
    squares = 0.0
    for name, shape in shapes.items():
        count = math.prod(shape)
        for start in range(0, count, size):
            values = _stacked(files, name, start, min(start + size, count))
            combined = torch.from_numpy(policy.combine(values, weights))
            put(name, start, combined)
            squares += _sum_of_squares(combined)
    return math.sqrt(squares)


def _sum_of_squares(values: Tensor) -> float:
    """Return the sum of the squares: float32 within a short block, float64 across blocks.

    float64 throughout takes ten times as long, float32 throughout loses the sixth digit.
    """
    whole = len(values) - len(values) % _BLOCK
    norms = torch.linalg.vector_norm(values[:whole].view(-1, _BLOCK), dim=1).double()
    rest = float(torch.linalg.vector_norm(values[whole:], dtype=torch.float64))
    return float(norms.square().sum()) + rest**2


def slice_values(count: int) -> int:
    """Return the values of a slice of `count` gradients, a power of two: fewer if there are many,
    so that memory does not grow with their number."""
    wanted = 1 << max(_BUDGET // count, 1).bit_length() - 1
    return max(_SMALLEST, min(_LARGEST, wanted))


def _stacked(
    files: Sequence[GradientFile], name: str, start: int, stop: int
) -> npt.NDArray[np.float32]:
    """Return float32[K, stop - start]; one gradient is not copied."""
    first = files[0].values(name, start, stop)
    if len(files) == 1:
        return first[np.newaxis]
    values = np.empty((len(files), stop - start), np.float32)
    values[0] = first
    for index, file in enumerate(files[1:], 1):
        values[index] = file.values(name, start, stop)
    return values
