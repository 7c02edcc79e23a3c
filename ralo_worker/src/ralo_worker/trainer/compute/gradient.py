"""`Gradient`: what a trainer computes of a batch and sends."""

import attrs
from torch import Tensor


@attrs.frozen(kw_only=True)
class Gradient:
    """The mean gradient by parameter name, float32 on the CPU; `weight` is the normaliser that it
    was divided by, `metrics` are means over the batch."""

    tensors: dict[str, Tensor]
    weight: float
    metrics: dict[str, float]
