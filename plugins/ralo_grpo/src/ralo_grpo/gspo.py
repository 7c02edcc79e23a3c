"""Group sequence policy optimisation, Zheng et al. 2025 (arXiv 2507.18071), equations 5 to 7.

    s_i = (pi(y_i) / mu(y_i)) ** (1 / |y_i|) = exp(mean_t log r_t)
    J   = sum_i min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i) / sum_i 1

One ratio per response, clipped as a whole.
"""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from ralo_core import BuildContext, LossBatch, at_least, between, setting


@attrs.frozen(kw_only=True)
class GspoSettings:
    """``[loss.gspo]``; the paper's bounds, section 5.1."""

    clip_low: float = setting(3e-4, "the ratio is clipped below at 1 - this", between(0.0, 1.0))
    clip_high: float = setting(4e-4, "the ratio is clipped above at 1 + this", at_least(0))


class GspoLoss:
    """Satisfies `ralo_core.protocols.Loss`; the advantage of a response is the mean over its
    tokens."""

    def __init__(self, settings: GspoSettings, context: BuildContext) -> None:
        self._settings = settings

    def normaliser(self, lengths: Sequence[int]) -> float:
        """Every response counts alike."""
        return float(len(lengths))

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, responses, sums of metrics)``."""
        mask = batch.mask
        tokens = mask.sum(1)
        responses = (tokens > 0).float()
        ratio = (batch.log_ratio(policy_logprobs).sum(1) / tokens.clamp(min=1)).exp()
        advantage = (batch.advantages * mask).sum(1) / tokens.clamp(min=1)
        low, high = 1 - self._settings.clip_low, 1 + self._settings.clip_high
        plain, clipped = ratio * advantage, ratio.clamp(low, high) * advantage
        total = -(torch.minimum(plain, clipped) * responses).sum()
        metrics = {
            "loss": float(total.detach()),
            "ratio": float((ratio.detach() * responses).sum()),
            "clip_fraction": float(((clipped < plain) * responses).sum()),
        }
        return total, float(responses.sum()), metrics
