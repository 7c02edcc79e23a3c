"""The size of the steps of a run, shared by all optimizers: learning rate, clipping bound, and the
ESS scaling of VCPO (arXiv 2602.17616):

    lr * sqrt(ESS / B)    sqrt, the paper's for AdamW        ESS = (sum w)^2 / sum w^2
    lr * ESS / B          linear, for plain descent          w = prod r of each of B responses

Where a few responses outweigh the rest, the gradient is less certain and the step is smaller.
"""

import logging
import math
from collections.abc import Mapping

from ralo_server.optimizers.settings import ScheduleSettings

log = logging.getLogger(__name__)


class Scheduled:
    """The half of `ralo_core.protocols.ScalingOptimizerFactory` that is no optimizer."""

    def __init__(self, settings: ScheduleSettings) -> None:
        self._schedule = settings

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 1."""
        return learning_rate(self._schedule, step)

    def rate_factor(self, metrics: Mapping[str, float]) -> float:
        """Return what `ess_scaling` makes of the metric `sequence_ess`, 1 where it is off."""
        if self._schedule.ess_scaling == "off":
            return 1.0
        if "sequence_ess" not in metrics:
            log.warning("the step is not scaled: its gradients do not say their sequence_ess")
            return 1.0
        share = min(1.0, max(0.0, metrics["sequence_ess"]))
        return math.sqrt(share) if self._schedule.ess_scaling == "sqrt" else share

    @property
    def max_grad_norm(self) -> float | None:
        """The bound on the global L2 norm, None where clipping is off."""
        return self._schedule.max_grad_norm or None


def learning_rate(settings: ScheduleSettings, step: int) -> float:
    """Return ``lr * step / warmup_steps`` during warm-up, then what the schedule says.

    `cosine` and `linear` fall from ``lr`` at the end of warm-up to ``lr * min_lr_ratio`` at
    `total_steps`, and stay there.
    """
    if step < settings.warmup_steps:
        return settings.lr * step / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.lr
    length = settings.total_steps - settings.warmup_steps
    progress = min(1.0, (step - settings.warmup_steps) / length)
    height = (
        0.5 * (1 + math.cos(math.pi * progress)) if settings.schedule == "cosine" else 1 - progress
    )
    return settings.lr * (settings.min_lr_ratio + (1 - settings.min_lr_ratio) * height)
