"""The learning rate over the steps of a run, and the clipping bound: shared by all optimizers.

Neighbours: every optimizer policy is a `Scheduled`; the learner asks before each step.
"""

import math

from ralo_server.policies.settings import ScheduleSettings


class Scheduled:
    """The half of `ralo_core.protocols.OptimizerPolicy` that is no optimizer."""

    def __init__(self, settings: ScheduleSettings) -> None:
        self._schedule = settings

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 1."""
        return learning_rate(self._schedule, step)

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
