"""Settings of the corrections, in a module of their own so that reading them imports no torch.

Defaults are those of other frameworks that have the same correction. ``ralo config explain`` shows
each help text alone: it must not need the one before it.
"""

import attrs

from ralo_core import setting
from ralo_core.config.checks import at_least, positive


@attrs.frozen(kw_only=True)
class TisSettings:
    """``[correction.tis]``."""

    cap: float = setting(2.0, "bound on the ratio by which a token is weighed", positive)


@attrs.frozen(kw_only=True)
class SequenceTisSettings:
    """``[correction.sequence_tis]``."""

    cap: float = setting(5.0, "bound on the ratio by which a response is weighed", positive)


@attrs.frozen(kw_only=True)
class IcePopSettings:
    """``[correction.icepop]``."""

    low: float = setting(0.5, "weight 0 for a token whose ratio is below this", at_least(0))
    high: float = setting(2.0, "weight 0 for a token whose ratio is above this", positive)


@attrs.frozen(kw_only=True)
class KPopSettings:
    """``[correction.kpop]``."""

    upper: float = setting(2.0, "weight 0 for a token with a larger KL, either way", positive)


@attrs.frozen(kw_only=True)
class ToprSettings:
    """``[correction.topr]``."""

    cap: float = setting(1.0, "bound on the weight of a response of negative advantage", positive)


@attrs.frozen(kw_only=True)
class M2poSettings:
    """``[correction.m2po]``."""

    tau: float = setting(
        0.04, "bound on the mean squared log-ratio of the candidate tokens that are kept", positive
    )


@attrs.frozen(kw_only=True)
class GeometricMaskSettings:
    """``[correction.geometric_mask]``."""

    low: float = setting(
        0.99, "weight 0 for a response whose mean ratio is below this", at_least(0)
    )
    high: float = setting(1.01, "weight 0 for a response whose mean ratio is above this", positive)


@attrs.frozen(kw_only=True)
class OpsmSettings:
    """``[correction.opsm]``."""

    delta: float = setting(
        1e-4, "KL per token above which a response of negative advantage has weight 0", at_least(0)
    )


@attrs.frozen(kw_only=True)
class StalenessSettings:
    """``[correction.staleness]``."""

    most: int = setting(8, "weight 0 for a response that is more versions behind", at_least(0))
    power: float = setting(
        0.0, "a response of staleness s has weight (1 + s) ** -power", at_least(0)
    )
