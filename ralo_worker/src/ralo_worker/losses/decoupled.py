"""Decoupled PPO (Hilton et al. 2022; AReaL, arXiv 2505.24298) with A-3PO's proximal policy.

    J      = sum_t (prox / mu) min(u_t A_t, clip(u_t, 1 - low, 1 + high) A_t) / sum_t 1
    u_t    = pi / prox
    log prox = log mu + alpha (log pi - log mu),   alpha = (s - 1) / s

The trust region lies around a policy one version old, whatever older one sampled. That policy is
not computed again but interpolated by the staleness s of the response (arXiv 2512.06547); a fresh
response has mu itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.losses.settings import DecoupledSettings


class DecoupledLoss:
    """Satisfies `ralo_core.protocols.Loss`."""

    def __init__(self, settings: DecoupledSettings, context: BuildContext) -> None:
        self._settings = settings

    def normaliser(self, lengths: Sequence[int]) -> float:
        """Every token counts alike."""
        return float(sum(lengths))

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, trained tokens, sums of metrics)``."""
        mask, advantages = batch.mask, batch.advantages
        log_ratio = batch.log_ratio(policy_logprobs)
        old = batch.staleness[:, None].clamp(min=1).to(log_ratio.dtype)
        proximal = ((old - 1) / old * log_ratio).detach()
        ratio = (log_ratio - proximal).exp()
        low, high = 1 - self._settings.clip_low, 1 + self._settings.clip_high
        plain, clipped = ratio * advantages, ratio.clamp(low, high) * advantages
        behaviour = proximal.exp().clamp(max=self._settings.behaviour_cap)
        total = -(behaviour * torch.minimum(plain, clipped) * mask).sum()
        metrics = {
            "loss": float(total.detach()),
            "behaviour_weight": float((behaviour * mask).sum()),
            "clip_fraction": float(((clipped < plain) & mask).sum()),
        }
        return total, float(mask.sum()), metrics
