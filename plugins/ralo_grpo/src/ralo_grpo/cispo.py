"""Clipped importance-sampling policy optimisation, MiniMax-M1 2025 (arXiv 2506.13585), eq. 4, 5.

    J = sum_t sg(clip(r_t, 1 - low, 1 + high)) A_t log pi(y_t) / sum_t 1

The ratio is a weight and gets no gradient, so no token is ever left out: clipping PPO's way
drops the gradient of exactly the rare tokens that move most.
"""

from collections.abc import Sequence

import attrs
from torch import Tensor

from ralo_core import BuildContext, LossBatch, at_least, between, setting


@attrs.frozen(kw_only=True)
class CispoSettings:
    """``[loss.cispo]``; ScaleRL's bounds (arXiv 2510.13786): no lower one, 5 above."""

    clip_low: float = setting(1.0, "the weight is at least 1 - this", between(0.0, 1.0))
    clip_high: float = setting(4.0, "the weight is at most 1 + this", at_least(0))


class CispoLoss:
    """Satisfies `ralo_core.protocols.Loss`."""

    def __init__(self, settings: CispoSettings, context: BuildContext) -> None:
        self._settings = settings

    def normaliser(self, lengths: Sequence[int]) -> float:
        """Every token counts alike."""
        return float(sum(lengths))

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, trained tokens, sums of metrics)``."""
        mask = batch.mask
        ratio = batch.log_ratio(policy_logprobs.detach()).exp()
        weight = ratio.clamp(1 - self._settings.clip_low, 1 + self._settings.clip_high)
        total = -(weight * batch.advantages * policy_logprobs.masked_fill(~mask, 0.0)).sum()
        metrics = {
            "loss": float(total.detach()),
            "ratio": float((ratio * mask).sum()),
            "clip_fraction": float(((weight != ratio) & mask).sum()),
        }
        return total, float(mask.sum()), metrics
