"""Settings of the corrections; apart from them so that no torch is imported. Defaults are those of
the peers that have the same part."""

import attrs

from ralo_core import setting
from ralo_core.options.checks import at_least, positive


@attrs.frozen(kw_only=True)
class TisSettings:
    """``[correction.tis]``."""

    cap: float = setting(2.0, "largest weight of a token", positive)


@attrs.frozen(kw_only=True)
class SequenceTisSettings:
    """``[correction.sequence_tis]``."""

    cap: float = setting(5.0, "largest weight of a response", positive)


@attrs.frozen(kw_only=True)
class IcePopSettings:
    """``[correction.icepop]``."""

    low: float = setting(0.5, "a token of a smaller ratio counts nothing", at_least(0))
    high: float = setting(2.0, "nor does one of a larger ratio", positive)


@attrs.frozen(kw_only=True)
class KPopSettings:
    """``[correction.kpop]``."""

    upper: float = setting(2.0, "a token whose KL either way is larger counts nothing", positive)


@attrs.frozen(kw_only=True)
class ToprSettings:
    """``[correction.topr]``."""

    cap: float = setting(1.0, "largest weight of a response worse than its group", positive)


@attrs.frozen(kw_only=True)
class M2poSettings:
    """``[correction.m2po]``."""

    tau: float = setting(
        0.04, "bound on the mean of the squared log-ratio where it is trusted", positive
    )


@attrs.frozen(kw_only=True)
class GeometricMaskSettings:
    """``[correction.geometric_mask]``."""

    low: float = setting(0.99, "a response of a smaller mean ratio counts nothing", at_least(0))
    high: float = setting(1.01, "nor does one of a larger mean ratio", positive)


@attrs.frozen(kw_only=True)
class OpsmSettings:
    """``[correction.opsm]``."""

    delta: float = setting(
        1e-4, "KL per token above which a response worse than its group counts nothing", at_least(0)
    )


@attrs.frozen(kw_only=True)
class StalenessSettings:
    """``[correction.staleness]``."""

    most: int = setting(8, "versions behind after which a response counts nothing", at_least(0))
    power: float = setting(0.0, "weight (1 + staleness) to the power of minus this", at_least(0))
