"""The gradient of one batch: log-probs of its tokens under the policy, loss, backward.

    gradient = d( sum over micro-batches of loss sums ) / d(theta) / (sum of normalisers)

so it does not depend on how the batch is cut. Neighbours: `policy` asks the model, `runtime`
uploads the result.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from ralo_core.protocols import Correction, Loss, LossBatch
from ralo_worker.adapters import published_name
from ralo_worker.trainer.micro_batches import MicroBatch
from ralo_worker.trainer.off_policy import Distance
from ralo_worker.trainer.policy import chosen_logprobs, entropies, on_device, token_logits
from ralo_worker.trainer.regularisation import Regulariser
from ralo_worker.trainer.token_means import TokenMeans


@attrs.frozen(kw_only=True)
class Gradient:
    """Mean gradient per parameter name (float32), the normaliser behind it, mean metrics."""

    tensors: dict[str, Tensor]
    weight: float
    metrics: dict[str, float]


@attrs.define
class _Sums:
    """What a batch has come to so far."""

    normaliser: float = 0.0
    metrics: defaultdict[str, float] = attrs.field(factory=lambda: defaultdict(float))
    distance: Distance = attrs.field(factory=Distance)
    means: TokenMeans = attrs.field(factory=TokenMeans)


def batch_gradient(
    model: Any,
    loss: Loss,
    batches: Iterable[MicroBatch],
    left_out: float = 0.0,
    corrections: Mapping[str, Correction] | None = None,
    regulariser: Regulariser | None = None,
) -> Gradient:
    """Return the gradient of `loss` over all `batches`; the model's own `.grad` is cleared.

    `corrections`, by name and in order, weigh the advantages by how far the policy is from what
    sampled. `left_out` is the normaliser of rows that were not computed because their gradient is
    zero. Metrics are means over what was computed.
    """
    model.zero_grad(set_to_none=True)
    sums = _Sums()
    for batch in batches:
        _add(model, loss, on_device(batch, model.device), corrections or {}, regulariser, sums)
    weight = sums.normaliser + left_out
    tensors = {
        published_name(name): _mean(parameter, weight)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    model.zero_grad(set_to_none=True)
    metrics = {name: value / sums.normaliser for name, value in sums.metrics.items()}
    return Gradient(
        tensors=tensors,
        weight=weight,
        metrics={**sums.distance.metrics(), **sums.means.metrics(), **metrics},
    )


def _add(
    model: Any,
    loss: Loss,
    batch: MicroBatch,
    corrections: Mapping[str, Correction],
    regulariser: Regulariser | None,
    sums: _Sums,
) -> None:
    """Add the gradient of a micro-batch to the model's own, and all else to `sums`."""
    logits = token_logits(model, batch)
    logprobs = chosen_logprobs(logits, batch)
    log_ratio = batch.loss_batch.log_ratio(logprobs.detach())
    sums.distance.add(log_ratio, batch.loss_batch)
    weighed = _corrected(batch.loss_batch, log_ratio, corrections, sums.means)
    total, normaliser, metrics = loss.loss(logprobs, weighed)
    with torch.set_grad_enabled(regulariser is not None and regulariser.settings.entropy > 0):
        entropy = entropies(logits, batch)
    sums.means.add("entropy", entropy, batch.loss_batch.mask)
    if regulariser is not None:
        total = total + regulariser.term(logprobs, entropy, batch, sums.means)
    total.backward()
    sums.normaliser += normaliser
    for name, value in metrics.items():
        sums.metrics[name] += value


def _corrected(
    batch: LossBatch, log_ratio: Tensor, corrections: Mapping[str, Correction], means: TokenMeans
) -> LossBatch:
    advantages = batch.advantages
    for name, correction in corrections.items():
        weights = correction.weigh(log_ratio, batch)
        means.add(f"masked_fraction/{name}", weights == 0, batch.mask)
        advantages = advantages * weights
    return attrs.evolve(batch, advantages=advantages)


def _mean(parameter: Any, weight: float) -> Tensor:
    if parameter.grad is None:  # a parameter that the loss does not reach
        return torch.zeros_like(parameter, dtype=torch.float32, device="cpu")
    return (parameter.grad / weight).to("cpu", torch.float32)
