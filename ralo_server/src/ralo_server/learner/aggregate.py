"""The weighted sum of gradient files, decoded tensor by tensor.

Neighbours: `loop` takes the coefficients from the aggregation policy; files were checked at
the door by `gradient_checks`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ralo_core.protocols import GradientCodec
from ralo_server.gradient_checks import decoded


def weighted_sum(
    terms: Sequence[tuple[Path, float]], shapes: Mapping[str, Sequence[int]], codec: GradientCodec
) -> dict[str, Tensor]:
    """Return ``sum(coefficient * gradient)`` per parameter, float32; a 0 leaves its file unread."""
    known = {name: tuple(shape) for name, shape in shapes.items()}
    total = {name: torch.zeros(shape, dtype=torch.float32) for name, shape in known.items()}
    for path, coefficient in terms:
        if coefficient == 0:
            continue
        for name, values in decoded(path, known, codec):
            term = torch.from_numpy(values.copy()).view(known[name])
            total[name].add_(term, alpha=coefficient)
    return total
