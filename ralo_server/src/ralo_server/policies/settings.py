"""Settings of the optimizer policies; apart from them so that no torch is imported."""

import attrs

from ralo_core import setting
from ralo_core.config.checks import at_least, between, positive


@attrs.frozen(kw_only=True)
class AdamWSettings:
    """``[optimizer.adamw]``."""

    lr: float = setting(1e-6, "learning rate after warm-up", positive)
    warmup_steps: int = setting(0, "steps of linear rise of the learning rate", at_least(0))
    beta1: float = setting(0.9, "decay of the first moment", between(0.0, 1.0))
    beta2: float = setting(0.999, "decay of the second moment", between(0.0, 1.0))
    eps: float = setting(1e-8, "added to the root of the second moment", positive)
    weight_decay: float = setting(0.0, "decoupled weight decay", at_least(0))
    max_grad_norm: float = setting(
        1.0, "bound on the global norm of the aggregate; 0: no clipping", at_least(0)
    )
