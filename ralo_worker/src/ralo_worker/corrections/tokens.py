"""Corrections token by token, from the ratio r = pi / mu of the policy to what really sampled.

    tis      min(r, cap)              truncated importance sampling, Yao et al. 2025
    icepop   r where low <= r <= high, else 0; Ring-1T (arXiv 2510.18855)
    kpop     0 where KL(pi || mu) or KL(mu || pi) > upper, else 1, each of "this token or another":
             KL(p || q) = p log(p / q) + (1 - p) log((1 - p) / (1 - q)); IcePop's successor, as in
             AReaL (`metric: binary_kl`)

The first two weigh the plain policy gradient (loss `policy_gradient`), which has no ratio of its
own; `kpop` is a mask and goes with every loss. The trainer multiplies advantages by the weights.
"""

import torch
from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.corrections.settings import IcePopSettings, KPopSettings, TisSettings

_LEAST = 1e-6


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


class KPop:
    """Satisfies `ralo_core.protocols.Correction`."""

    def __init__(self, settings: KPopSettings, context: BuildContext) -> None:
        self._settings = settings

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        behaviour = _probability(batch.behaviour_logprobs)
        policy = _probability(batch.behaviour_logprobs + log_ratio)
        further = torch.maximum(_binary_kl(policy, behaviour), _binary_kl(behaviour, policy))
        return (further <= self._settings.upper).to(log_ratio.dtype)


def _probability(logprobs: Tensor) -> Tensor:
    """Return probabilities, float64, away from 0 and 1, where a KL has no value."""
    return logprobs.double().exp().clamp(_LEAST, 1 - _LEAST)


def _binary_kl(p: Tensor, q: Tensor) -> Tensor:
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
