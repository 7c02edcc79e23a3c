"""The `sgd` optimizer: `torch.optim.SGD` with momentum, fused."""

from collections.abc import Iterable
from typing import Any

import torch

from ralo_core import BuildContext
from ralo_server.optimizers.schedule import Scheduled
from ralo_server.optimizers.settings import SgdSettings


class Sgd(Scheduled):
    """Satisfies `ralo_core.protocols.OptimizerFactory`."""

    def __init__(self, settings: SgdSettings, context: BuildContext) -> None:
        super().__init__(settings)
        self._settings = settings

    def build(self, named_parameters: Iterable[tuple[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer over fp32 parameters."""
        settings = self._settings
        return torch.optim.SGD(
            [parameter for _, parameter in named_parameters],
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,
        )
