"""The clipped policy objective, PPO (Schulman et al. 2017) with clip-higher (DAPO, Yu et al. 2025).

    r_t = exp(log pi(y_t) - log mu(y_t))            mu: the behaviour policy, token by token
    J   = sum_t min(r_t A_t, clip(r_t, 1 - low, 1 + high) A_t) / sum_t 1

The normaliser is the number of trained tokens, so that every token of a batch counts alike
(token-mean). Asynchronous rollouts need nothing else here: mu is what really sampled.

Neighbours: the trainer calls it per micro-batch; both recipes name it.
"""

import torch
from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.losses.settings import ClipSettings

_MAX_LOG_RATIO = 20.0
"""exp of more than this is no gradient any more but an overflow."""


class ClipLoss:
    """Satisfies `ralo_core.protocols.Loss`."""

    zero_advantage_has_zero_gradient = True
    """The trainer leaves out rows whose advantages are all zero, as in a group without any
    difference; only their tokens count, in the normaliser."""

    def __init__(self, settings: ClipSettings, context: BuildContext) -> None:
        self._settings = settings

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, trained tokens, sums of metrics)``.

        Metrics: `loss`, `ratio`, `clip_fraction` (tokens whose gradient the clip removed) and
        `kl`, the estimate ``r - 1 - log r`` of KL(mu || pi) (Schulman's k3).
        """
        low, high = self._settings.clip_low, self._settings.clip_high
        mask, advantages = batch.mask, batch.advantages
        log_ratio = (policy_logprobs - batch.behaviour_logprobs).masked_fill(~mask, 0.0)
        log_ratio = log_ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        ratio = log_ratio.exp()
        plain, clipped = ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages
        objective = torch.minimum(plain, clipped)
        if self._settings.dual_clip:
            bound = self._settings.dual_clip * advantages
            objective = torch.where(advantages < 0, torch.maximum(objective, bound), objective)
        total = -(objective * mask).sum()
        with torch.no_grad():
            metrics = {
                "loss": float(total),
                "ratio": float((ratio * mask).sum()),
                "clip_fraction": float(((clipped < plain) & mask).sum()),
                "kl": float(((ratio - 1 - log_ratio) * mask).sum()),
            }
        return total, float(mask.sum()), metrics
