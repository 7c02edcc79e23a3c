"""Corrections token by token, from the ratio r = pi / mu of the policy to what really sampled.

    tis      min(r, cap)              truncated importance sampling, Yao et al. 2025
    icepop   r where low <= r <= high, else 0; Ring-1T (arXiv 2510.18855)

They weigh the plain policy gradient (loss `policy_gradient`), which has no ratio of its own.
Neighbours: the trainer multiplies advantages by the weights.
"""

from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.corrections.settings import IcePopSettings, TisSettings


class Tis:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: TisSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        return log_ratio.exp().clamp(max=self._settings.cap)


class IcePop:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: IcePopSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        ratio = log_ratio.exp()
        inside = (ratio >= self._settings.low) & (ratio <= self._settings.high)
        return ratio * inside
