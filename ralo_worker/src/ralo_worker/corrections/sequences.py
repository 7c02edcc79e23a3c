"""Corrections response by response, from the log-ratios of its n tokens.

    sequence_tis    min(exp(sum log r), cap)                     Liu et al. 2025
    geometric_mask  1 where low < exp(mean log r) < high, else 0
    opsm            0 where mean(-log r) > delta and A < 0, else 1; off-policy sequence masking,
                    DeepSeek-V3.2: a bad response that the policy has moved away from tells
                    nothing more
    topr            1 where A > 0, min(exp(sum log r), cap) elsewhere; tapered off-policy REINFORCE,
                    Le Roux et al. 2025 (arXiv 2503.14286): a bad response is pushed away from
                    only as far as the policy still gives it
    staleness       (1 + s) ** -power up to `most` versions behind, 0 beyond

The trainer multiplies advantages by the weights. Masks go with every loss, the weights of
`sequence_tis` and `topr` with `policy_gradient`, which has no ratio of its own.
"""

import math

from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.corrections.settings import (
    GeometricMaskSettings,
    OpsmSettings,
    SequenceTisSettings,
    StalenessSettings,
    ToprSettings,
)


class SequenceTis:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: SequenceTisSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        return _truncated(log_ratio, self._settings.cap)


class GeometricMask:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: GeometricMaskSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        mean = _mean(log_ratio, batch).exp()
        inside = (mean > self._settings.low) & (mean < self._settings.high)
        return inside.to(log_ratio.dtype).expand_as(log_ratio)


class Opsm:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: OpsmSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        far = -_mean(log_ratio, batch) > self._settings.delta
        return (~(far & (batch.advantages < 0))).to(log_ratio.dtype)


class Topr:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: ToprSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        weight = _truncated(log_ratio, self._settings.cap)
        return weight.masked_fill(batch.advantages > 0, 1.0)


class Staleness:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: StalenessSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        behind = batch.staleness[:, None].clamp(min=0).to(log_ratio.dtype)
        weight = (1 + behind) ** -self._settings.power * (behind <= self._settings.most)
        return weight.expand_as(log_ratio)


def _truncated(log_ratio: Tensor, cap: float) -> Tensor:
    """Return the ratio of every row as a whole, at most `cap`, float[R, C]."""
    return log_ratio.sum(1, keepdim=True).clamp(max=math.log(cap)).exp().expand_as(log_ratio)


def _mean(log_ratio: Tensor, batch: LossBatch) -> Tensor:
    """Return the mean over the trained tokens of every row, float[R, 1]."""
    return log_ratio.sum(1, keepdim=True) / batch.mask.sum(1, keepdim=True).clamp(min=1)
