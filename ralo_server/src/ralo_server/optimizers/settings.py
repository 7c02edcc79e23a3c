"""Settings of the optimizers: apart from them, so that checking a config imports no torch."""

import attrs

from ralo_core import setting
from ralo_core.config.checks import at_least, between, one_of, positive


@attrs.frozen(kw_only=True)
class ScheduleSettings:
    """What every optimizer has: learning rate over steps, its scaling, and clipping.

    Raises `ValueError` for a schedule without an end.
    """

    lr: float = setting(1e-6, "learning rate after warm-up", positive)
    warmup_steps: int = setting(0, "steps of linear rise of the learning rate", at_least(0))
    schedule: str = setting(
        "constant",
        "course of the learning rate after warm-up",
        one_of("constant", "cosine", "linear"),
    )
    total_steps: int = setting(
        0, "step at which 'cosine' and 'linear' reach their end", at_least(0)
    )
    min_lr_ratio: float = setting(
        0.0,
        "learning rate at the end of 'cosine' and 'linear', as a share of lr",
        between(0.0, 1.0),
    )
    ess_scaling: str = setting(
        "off",
        "scale the learning rate of a step by the effective share of its responses, 'linear' or by "
        "its square root, 'sqrt' (VCPO)",
        one_of("off", "sqrt", "linear"),
    )
    max_grad_norm: float = setting(
        1.0, "bound on the global norm of the aggregate; 0: no clipping", at_least(0)
    )

    def __attrs_post_init__(self) -> None:
        if self.schedule != "constant" and self.total_steps <= self.warmup_steps:
            msg = (
                f"schedule = '{self.schedule}' needs total_steps above warmup_steps "
                f"({self.warmup_steps}), got {self.total_steps}"
            )
            raise ValueError(msg)


@attrs.frozen(kw_only=True)
class AdamWSettings(ScheduleSettings):
    """``[optimizer.adamw]``."""

    beta1: float = setting(0.9, "decay of the first moment", between(0.0, 1.0))
    beta2: float = setting(0.999, "decay of the second moment", between(0.0, 1.0))
    eps: float = setting(1e-8, "added to the root of the second moment", positive)
    weight_decay: float = setting(0.0, "decoupled weight decay", at_least(0))


@attrs.frozen(kw_only=True)
class SgdSettings(ScheduleSettings):
    """``[optimizer.sgd]``; raises `ValueError` for nesterov without momentum."""

    momentum: float = setting(0.0, "decay of the running sum of gradients", between(0.0, 1.0))
    nesterov: bool = setting(False, "look ahead along the momentum (needs momentum)")
    weight_decay: float = setting(0.0, "weight decay, added to the gradient", at_least(0))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.nesterov and not self.momentum:
            msg = "nesterov = true needs a momentum above 0"
            raise ValueError(msg)


@attrs.frozen(kw_only=True)
class NesterovSettings(ScheduleSettings):
    """``[optimizer.nesterov]``; the defaults are those of DiLoCo's outer step."""

    lr: float = setting(
        0.7, "learning rate of the outer step; 1: all of the way that trainers went", positive
    )
    momentum: float = setting(
        0.9, "decay of the running sum of pseudo-gradients", positive, between(0.0, 1.0)
    )
    max_grad_norm: float = setting(
        0.0, "bound on the global norm of the aggregate; 0: no clipping", at_least(0)
    )


@attrs.frozen(kw_only=True)
class LionSettings(ScheduleSettings):
    """``[optimizer.lion]``."""

    beta1: float = setting(0.9, "share of the momentum in an update", between(0.0, 1.0))
    beta2: float = setting(0.99, "decay of the momentum", between(0.0, 1.0))
    weight_decay: float = setting(0.0, "decoupled weight decay", at_least(0))
