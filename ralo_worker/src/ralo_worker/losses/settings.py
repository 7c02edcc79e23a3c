"""Settings of the losses, in a module of their own so that reading them imports no torch."""

import attrs

from ralo_core import setting
from ralo_core.config.checks import at_least, between, one_of, positive


@attrs.frozen(kw_only=True)
class ClipSettings:
    """``[loss.clip]``."""

    clip_low: float = setting(
        0.2, "the policy ratio is clipped below at 1 - clip_low", between(0.0, 1.0)
    )
    clip_high: float = setting(
        0.28,
        "the policy ratio is clipped above at 1 + clip_high; DAPO has it larger than clip_low",
        at_least(0),
    )
    average: str = setting(
        "token",
        "what has equal weight: every 'token', every response ('sequence'), or 'constant': "
        "every response, the sum over its tokens divided by constant_tokens",
        one_of("token", "sequence", "constant"),
    )  # fmt: skip
    constant_tokens: int = setting(
        1024, "divisor of 'constant'; Dr. GRPO takes the longest response allowed", positive
    )
    dual_clip: float = setting(
        0.0, "bound on ratio x |advantage| where the advantage is negative; 0: none", at_least(0)
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class DecoupledSettings:
    """``[loss.decoupled]``."""

    clip_low: float = setting(
        0.2, "the policy ratio is clipped below at 1 - clip_low", between(0.0, 1.0)
    )
    clip_high: float = setting(
        0.2, "the policy ratio is clipped above at 1 + clip_high", at_least(0)
    )
    behaviour_cap: float = setting(5.0, "bound on the weight prox / mu of a token", positive)


@attrs.frozen(kw_only=True)
class DppoSettings:
    """``[loss.dppo]``; prime-rl's defaults."""

    low: float = setting(
        0.2, "probability that a token may lose before its gradient is left out", between(0.0, 1.0)
    )
    high: float = setting(
        0.2, "probability that a token may gain before its gradient is left out", between(0.0, 1.0)
    )
    tau: float = setting(1e-3, "weight of the squared log-ratio", at_least(0))
