"""The `adamw` optimizer: `torch.optim.AdamW` (Loshchilov & Hutter 2019), fused."""

from collections.abc import Iterable
from typing import Any

import torch

from ralo_core import BuildContext
from ralo_server.optimizers.schedule import Scheduled
from ralo_server.optimizers.settings import AdamWSettings


class AdamW(Scheduled):
    """Satisfies `ralo_core.protocols.OptimizerFactory`."""

    def __init__(self, settings: AdamWSettings, context: BuildContext) -> None:
        super().__init__(settings)
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
