"""The plain policy gradient, REINFORCE (Williams 1992), token by token.

    J = sum_t A_t log pi(y_t) / sum_t 1

written with the ratio of the policy to itself, which is 1 and has the gradient of log pi. What
another policy sampled is made right by a correction (`tis`, `icepop`, `sequence_tis`), whose weight
is in A.
"""

from collections.abc import Sequence

from torch import Tensor

from ralo_core import BuildContext, LossBatch


class PolicyGradientLoss:
    """Satisfies `ralo_core.protocols.Loss`."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        pass

    def normaliser(self, lengths: Sequence[int]) -> float:
        """Every token counts alike."""
        return float(sum(lengths))

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, trained tokens, sums of metrics)``."""
        one = (policy_logprobs - policy_logprobs.detach()).masked_fill(~batch.mask, 0.0).exp()
        total = -(one * batch.advantages * batch.mask).sum()
        return total, float(batch.mask.sum()), {"loss": float(total.detach())}
