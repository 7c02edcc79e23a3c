"""The gradient of one batch: log-probs of its tokens under the policy, loss, backward.

    gradient = d( sum over micro-batches of loss sums ) / d(theta) / (sum of normalisers)

so it does not depend on how the batch is cut. `accumulate` adds up one
part of the batch, as one of several ranks does; `divided` makes the mean. Neighbours: `policy`
asks the model, `objective` decides what is computed, `runtime` uploads the result.
"""

from collections.abc import Iterable, Mapping

import attrs
import torch
from torch import Tensor

from ralo_core.protocols import Correction, Loss, LossBatch
from ralo_worker.trainer.compute.batch_totals import BatchTotals
from ralo_worker.trainer.compute.gradient_sums import GradientSums
from ralo_worker.trainer.compute.policy import Policy, on_device
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.compute.token_means import TokenMeans
from ralo_worker.trainer.layout.micro_batches import MicroBatch


@attrs.frozen(kw_only=True)
class Gradient:
    """Mean gradient per parameter name (float32), the normaliser behind it, mean metrics."""

    tensors: dict[str, Tensor]
    weight: float
    metrics: dict[str, float]


def batch_gradient(
    policy: Policy,
    loss: Loss,
    batches: Iterable[MicroBatch],
    left_out: float = 0.0,
    corrections: Mapping[str, Correction] | None = None,
    regulariser: Regulariser | None = None,
) -> Gradient:
    """Return the gradient of `loss` over all `batches`; the policy's own sums are cleared.

    `left_out` is the normaliser of rows that were not computed because their gradient is zero.
    Metrics are means over what was computed. Else as `accumulate`.
    """
    gradients = GradientSums(policy)
    gradients.clear()
    sums = accumulate(policy, loss, batches, corrections or {}, regulariser)
    return divided(gradients, sums, left_out)


def accumulate(
    policy: Policy,
    loss: Loss,
    batches: Iterable[MicroBatch],
    corrections: Mapping[str, Correction],
    regulariser: Regulariser | None,
) -> BatchTotals:
    """Add the gradient of the summed `loss` over all `batches` to the policy's `GradientSums`, and
    return what else they came to.

    `corrections`, by name and in order, weigh the advantages by how far the policy is from what
    sampled.
    """
    sums = BatchTotals()
    for batch in batches:
        _add(policy, loss, on_device(batch, policy.device), corrections, regulariser, sums)
    return sums


def idle(policy: Policy, regulariser: Regulariser | None, batch: MicroBatch) -> None:
    """Take part in a micro-batch of other ranks, and add nothing: a sharded policy is gathered by
    all at once."""
    batch = on_device(batch, policy.device)
    logprobs, _ = policy(batch)
    if regulariser is not None and regulariser.reference is not None:
        with torch.no_grad():
            regulariser.reference(batch)
    (logprobs.sum() * 0.0).backward()


def divided(gradients: GradientSums, sums: BatchTotals, left_out: float = 0.0) -> Gradient:
    """Return the sums over the normaliser; they are divided in place, and `gradients` is clear."""
    weight = sums.normaliser + left_out
    tensors = {
        name: total.div_(weight).to("cpu", torch.float32) for name, total in gradients.items()
    }
    gradients.clear()
    return Gradient(tensors=tensors, weight=weight, metrics=sums.mean_metrics())


def _add(
    policy: Policy,
    loss: Loss,
    batch: MicroBatch,
    corrections: Mapping[str, Correction],
    regulariser: Regulariser | None,
    sums: BatchTotals,
) -> None:
    """Add the gradient of a micro-batch to the policy's own, and all else to `sums`."""
    rewarded = regulariser is not None and regulariser.settings.entropy > 0
    logprobs, entropy = policy(batch, entropy_slope=rewarded)
    log_ratio = batch.loss_batch.log_ratio(logprobs.detach())
    sums.distance.add(log_ratio, batch.loss_batch)
    weighed = _corrected(batch.loss_batch, log_ratio, corrections, sums.means)
    total, normaliser, metrics = loss.loss(logprobs, weighed)
    sums.means.add("entropy", entropy, batch.loss_batch.mask)
    if regulariser is not None:
        total = total + regulariser.term(logprobs, entropy, batch, sums.means)
    total.backward()
    sums.add(normaliser, metrics)


def _corrected(
    batch: LossBatch, log_ratio: Tensor, corrections: Mapping[str, Correction], means: TokenMeans
) -> LossBatch:
    advantages = batch.advantages
    for name, correction in corrections.items():
        weights = correction.weigh(log_ratio, batch)
        means.add(f"masked_fraction/{name}", weights == 0, batch.mask)
        advantages = advantages * weights
    return attrs.evolve(batch, advantages=advantages)
