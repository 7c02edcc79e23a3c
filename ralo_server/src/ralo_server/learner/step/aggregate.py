"""Combines the gradients of a step, slice by slice, where a slice of the result is asked for.

Neighbours: the aggregator says how, `gradient_file` decodes, `step_files` takes the norm
and then the values. Files were checked at the door by `gradient_checks`.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ralo_core.protocols import Aggregator, GradientCodec
from ralo_server.gradients.file import GradientFile

_LARGEST, _SMALLEST = 1 << 20, 1 << 16
_BLOCK = 1 << 12
_BUDGET = 1 << 24
"""Values of all gradients together that are decoded at a time: 64 MiB as float32."""


class Aggregate:
    """The combination of (file, weight above 0) `terms` over parameters of `shapes`.

    Raises `WireError` for a file that is not what was checked at the door.
    """

    def __init__(
        self,
        terms: Sequence[tuple[Path, float]],
        codec: GradientCodec,
        policy: Aggregator,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._files = [GradientFile(path, shapes, codec) for path, _ in terms]
        self._weights = np.asarray([weight for _, weight in terms])
        self._policy, self._shapes = policy, shapes
        self._size = slice_values(len(terms))

    def norm(self, put: Callable[[str, int, Tensor], None] | None = None) -> float:
        """Return the L2 norm of the whole; each slice goes to `put`, too: name of the parameter,
        start, float32[n]."""
        squares = 0.0
        for name, shape in self._shapes.items():
            count = math.prod(shape)
            for start in range(0, count, self._size):
                combined = self._combined(name, start, min(start + self._size, count))
                if put is not None:
                    put(name, start, combined)
                squares += _sum_of_squares(combined)
        return math.sqrt(squares)

    def values(self, name: str, start: int, stop: int) -> Tensor:
        """Return values ``start:stop`` of parameter `name`, flattened, as float32."""
        bounds = [*range(start, stop, self._size), stop]
        parts = [self._combined(name, *ends) for ends in itertools.pairwise(bounds)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _combined(self, name: str, start: int, stop: int) -> Tensor:
        stacked = self._stacked(name, start, stop)
        return torch.from_numpy(self._policy.combine(stacked, self._weights))

    def _stacked(self, name: str, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return float32[K, stop - start]; one gradient is not copied."""
        first = self._files[0].values(name, start, stop)
        if len(self._files) == 1:
            return first[np.newaxis]
        values = np.empty((len(self._files), stop - start), np.float32)
        values[0] = first
        for index, file in enumerate(self._files[1:], 1):
            values[index] = file.values(name, start, stop)
        return values


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
