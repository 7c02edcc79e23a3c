"""Settings of the aggregators: apart from them, so that checking a config imports little."""

import attrs

from ralo_core import setting
from ralo_core.config.checks import at_least, between


@attrs.frozen(kw_only=True)
class StalenessMeanSettings:
    """``[aggregation.staleness_mean]``."""

    power: float = setting(1.0, "tokens count for tokens / (1 + lag) ** power", at_least(0))
    max_staleness: int = setting(
        8, "a gradient is left out if its base is more versions old", at_least(0)
    )


@attrs.frozen(kw_only=True)
class DilocoSettings:
    """``[aggregation.diloco]``."""

    max_staleness: int = setting(
        8, "a pseudo-gradient is left out if its base is more versions old", at_least(0)
    )


@attrs.frozen(kw_only=True)
class TrimmedMeanSettings:
    """``[aggregation.trimmed_mean]``."""

    trim: float = setting(
        0.1, "share of the gradients dropped at each end of every coordinate", between(0.0, 0.5)
    )
