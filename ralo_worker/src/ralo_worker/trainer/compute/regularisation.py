"""What a run may add to any loss: a price on the KL to a reference policy, a bonus for entropy.

    loss + sum_t w_t (kl k(t) - entropy H_t),    w_t = N(n) / n    for each of the n tokens of a row

N is the normaliser of the loss, so a row weighs what it weighs in the loss and the gradient does
not depend on how the batch is cut. H is the entropy of the distribution that the token was drawn
from, k an estimate of KL(pi || ref) from the token alone (Schulman, "Approximating KL divergence"),
with d = log ref - log pi:

    k1  -d                 unbiased as a value, but its gradient is that of log pi, 0 on average
    k2  d^2 / 2            its gradient is, on average, that of the KL
    k3  exp(d) - d - 1     never negative, of small variance; GRPO's (Shao et al. 2024, eq. 4)

What an older policy sampled is taken as it is, without an importance ratio, as other frameworks do.
"""

import attrs
import torch
from torch import Tensor

from ralo_core import LossBatch
from ralo_core.config import RegularisationSettings
from ralo_core.protocols import Loss
from ralo_worker.trainer.compute.model import WithoutAdapter
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.token_means import TokenMeans
from ralo_worker.trainer.layout.micro_batches import MicroBatch


@attrs.frozen(kw_only=True)
class Regulariser:
    """`reference` is a policy like the one that is trained; None where no KL is asked for."""

    settings: RegularisationSettings
    loss: Loss
    reference: Policy | WithoutAdapter | None = None

    def term(
        self, logprobs: Tensor, entropy: Tensor, batch: MicroBatch, means: TokenMeans
    ) -> Tensor:
        """Return the scalar to be added to the loss's sum, from float32[R, C] of the policy.

        The mean over tokens of the KL goes to `means`.
        """
        rows = batch.loss_batch
        each = -self.settings.entropy * entropy
        if self.reference is not None:
            with torch.no_grad():
                reference, _ = self.reference(batch)
            divergence = _estimate(self.settings.kl_estimator, logprobs, reference, rows)
            means.add("reference_kl", divergence, rows.mask)
            each = each + self.settings.kl * divergence
        return (each.masked_fill(~rows.mask, 0.0).sum(1) * self._weights(logprobs, rows)).sum()

    def _weights(self, logprobs: Tensor, batch: LossBatch) -> Tensor:
        """Return N(n) / n of every row, float32[R]."""
        shares = [
            self._normaliser(length, logprobs, batch, row) / max(length, 1)
            for row, length in enumerate(batch.mask.sum(1).tolist())
        ]
        return torch.tensor(shares, dtype=logprobs.dtype, device=logprobs.device)

    def _normaliser(self, length: int, logprobs: Tensor, batch: LossBatch, row: int) -> float:
        known = getattr(self.loss, "normaliser", None)
        if known is not None:
            return float(known([length]))
        alone = slice(row, row + 1)
        return float(self.loss.loss(logprobs[alone].detach(), batch.rows(alone))[1])


def _estimate(kind: str, logprobs: Tensor, reference: Tensor, batch: LossBatch) -> Tensor:
    # The distance is bounded as that to the behaviour policy is.
    distance = -attrs.evolve(batch, behaviour_logprobs=reference).log_ratio(logprobs)
    if kind == "k1":
        return -distance
    if kind == "k2":
        return distance.square() / 2
    return distance.exp() - distance - 1
