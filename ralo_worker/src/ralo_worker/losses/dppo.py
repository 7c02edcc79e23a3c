"""DPPO with a trust region in total variation (arXiv 2602.04879), as prime-rl has it by default.

    J = sum_t [ r_t A_t 1(not violating) - tau (log r_t)^2 ] / sum_t 1
    violating: A_t > 0 and pi - mu > high,  or  A_t < 0 and pi - mu < -low

in probabilities, not ratios: a rare token may double without leaving the region, which the clip
of PPO never lets it.
"""

from collections.abc import Sequence

from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.losses.settings import DppoSettings


class DppoLoss:
    """Satisfies `ralo_core.protocols.Loss`."""

    def __init__(self, settings: DppoSettings, context: BuildContext) -> None:
        self._settings = settings
        if not settings.tau:
            self.normaliser = _tokens

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, trained tokens, sums of metrics)``."""
        mask, advantages = batch.mask, batch.advantages
        log_ratio = batch.log_ratio(policy_logprobs)
        moved = policy_logprobs.detach().exp() - batch.behaviour_logprobs.exp()
        outside = ((advantages > 0) & (moved > self._settings.high)) | (
            (advantages < 0) & (moved < -self._settings.low)
        )
        gain = log_ratio.exp() * advantages * ~outside
        total = -((gain - self._settings.tau * log_ratio.square()) * mask).sum()
        metrics = {
            "loss": float(total.detach()),
            "clip_fraction": float((outside & mask).sum()),
        }
        return total, float(mask.sum()), metrics


def _tokens(lengths: Sequence[int]) -> float:
    """Without the penalty a row without advantage has no gradient; every token counts alike."""
    return float(sum(lengths))
