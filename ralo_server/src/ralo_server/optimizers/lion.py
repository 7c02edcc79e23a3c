"""The `lion` optimizer: sign momentum (Chen et al. 2023, "Symbolic Discovery of
Optimization Algorithms", algorithm 2), half the state of AdamW.
"""

from collections.abc import Iterable
from typing import Any

import torch

from ralo_core import BuildContext
from ralo_server.optimizers.schedule import Scheduled
from ralo_server.optimizers.settings import LionSettings


class Lion(Scheduled):
    """Satisfies `ralo_core.protocols.OptimizerFactory`."""

    def __init__(self, settings: LionSettings, context: BuildContext) -> None:
        super().__init__(settings)
        self._settings = settings

    def build(self, named_parameters: Iterable[tuple[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer over fp32 parameters."""
        settings = self._settings
        return LionOptimizer(
            [parameter for _, parameter in named_parameters],
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )


class LionOptimizer(torch.optim.Optimizer):
    """With gradient ``g``, momentum ``m`` and weights ``w``::

    c = beta1 * m + (1 - beta1) * g
    w = w - lr * (sign(c) + weight_decay * w)
    m = beta2 * m + (1 - beta2) * g
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` must be None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(
        self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]
    ) -> None:
        beta1, beta2 = group["betas"]
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        momentum = state["exp_avg"]
        direction = torch.lerp(gradient, momentum, beta1).sign_()
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"])
        momentum.lerp_(gradient, 1 - beta2)
