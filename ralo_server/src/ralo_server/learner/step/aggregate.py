"""Combines the gradients of a step, slice by slice, where a slice of the result is asked for.

The files were validated when they were uploaded, so a fault in one here means that it was damaged
since. Nothing that was decoded is kept.
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
from ralo_server.gradients.slices import slices, sum_of_squares

_LARGEST, _SMALLEST = 1 << 20, 1 << 16
_BUDGET = 1 << 24
"""Values of all gradients together that are decoded at a time: 64 MiB as float32."""


class Aggregate:
    """The combination of `weighted_gradients`, (file, weight above 0), over parameters of `shapes`.

    Raises `WireError` for a file that is not what was validated.
    """

    def __init__(
        self,
        weighted_gradients: Sequence[tuple[Path, float]],
        codec: GradientCodec,
        aggregator: Aggregator,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._files = [GradientFile(path, shapes, codec) for path, _ in weighted_gradients]
        self._weights = np.asarray([weight for _, weight in weighted_gradients])
        self._aggregator, self._shapes = aggregator, shapes
        self.count = len(weighted_gradients)
        self._size = slice_values(len(weighted_gradients))

    def norm(self, put: Callable[[str, int, Tensor], None] | None = None) -> float:
        """Return the L2 norm of the whole; each slice goes to `put`, too: name of the parameter,
        start, float32[n]."""
        squares = 0.0
        for name, shape in self._shapes.items():
            for start, stop in slices(math.prod(shape), self._size):
                combined = self._combined(name, start, stop)
                if put is not None:
                    put(name, start, combined)
                squares += sum_of_squares(combined.numpy())
        return math.sqrt(squares)

    def values(self, name: str, start: int, stop: int) -> Tensor:
        """Return values ``start:stop`` of parameter `name`, flattened, as float32."""
        bounds = [*range(start, stop, self._size), stop]
        parts = [self._combined(name, *ends) for ends in itertools.pairwise(bounds)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _combined(self, name: str, start: int, stop: int) -> Tensor:
        stacked = self._stacked(name, start, stop)
        return torch.from_numpy(self._aggregator.combine(stacked, self._weights))

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


def slice_values(count: int) -> int:
    """Return the values of a slice of `count` gradients, a power of two: fewer if there are many,
    so that memory does not grow with their number."""
    wanted = 1 << max(_BUDGET // count, 1).bit_length() - 1
    return max(_SMALLEST, min(_LARGEST, wanted))
