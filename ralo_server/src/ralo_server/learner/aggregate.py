"""The weighted sum of gradient files, decoded slice by slice.

Neighbours: `loop` takes the coefficients from the aggregation policy; files were checked at
the door by `gradient_checks`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ralo_core.protocols import GradientCodec
from ralo_server.gradient_file import GradientFile, slices


def weighted_sum(
    terms: Sequence[tuple[Path, float]], shapes: Mapping[str, Sequence[int]], codec: GradientCodec
) -> dict[str, Tensor]:
    """Return ``sum(coefficient * gradient)`` per parameter, float32; a 0 leaves its file unread."""
    known = {name: tuple(shape) for name, shape in shapes.items()}
    total = {name: torch.zeros(shape, dtype=torch.float32) for name, shape in known.items()}
    for path, coefficient in terms:
        if coefficient == 0:
            continue
        file = GradientFile(path, known, codec)
        for name, shape in known.items():
            flat = total[name].view(-1)
            for start, stop in slices(math.prod(shape)):
                term = torch.from_numpy(file.values(name, start, stop).copy())
                flat[start:stop].add_(term, alpha=coefficient)
    return total
