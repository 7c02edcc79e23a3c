"""Settings of the `math` reward; apart from it so that math-verify is not imported."""

import attrs

from ralo_core import positive, setting


@attrs.frozen(kw_only=True)
class MathSettings:
    """``[reward.math]``."""

    timeout_seconds: float = setting(5.0, "an answer that takes longer counts as wrong", positive)
    correct: float = setting(1.0, "reward of an answer equal to the reference")
    wrong: float = setting(0.0, "reward of any other answer")
