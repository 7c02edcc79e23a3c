"""The `adamw` optimizer policy: `torch.optim.AdamW` (Loshchilov & Hutter 2019), fused.

Neighbours: the learner builds the optimizer over its fp32 master weights, sets the learning
rate of every step and clips the aggregate.
"""

from collections.abc import Iterable
from typing import Any

import torch

from ralo_core import BuildContext
from ralo_server.policies.settings import AdamWSettings


class AdamW:
    """Satisfies `ralo_core.protocols.OptimizerPolicy`."""

    def __init__(self, settings: AdamWSettings, context: BuildContext) -> None:
        self._settings = settings

    def build(self, named_parameters: Iterable[tuple[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer over fp32 parameters."""
        settings = self._settings
        return torch.optim.AdamW(
            [parameter for _, parameter in named_parameters],
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def learning_rate(self, step: int) -> float:
        """Return ``lr * min(1, step / warmup_steps)``; `step` counts from 1."""
        warmup = self._settings.warmup_steps
        return self._settings.lr * (min(1.0, step / warmup) if warmup else 1.0)

    @property
    def max_grad_norm(self) -> float | None:
        """The bound on the global L2 norm, None where clipping is off."""
        return self._settings.max_grad_norm or None
