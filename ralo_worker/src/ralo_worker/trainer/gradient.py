"""The gradient of one batch: log-probs of its tokens under the policy, loss, backward.

    gradient = d( sum over micro-batches of loss sums ) / d(theta) / (sum of normalisers)

so it does not depend on how the batch is cut. Neighbours: `trainer.runtime` uploads it.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import attrs
import torch
from torch import Tensor

from ralo_core.protocols import Loss
from ralo_worker.trainer.rows import MicroBatch


@attrs.frozen(kw_only=True)
class Gradient:
    """Mean gradient per parameter name (float32), the normaliser behind it, mean metrics."""

    tensors: dict[str, Tensor]
    weight: float
    metrics: dict[str, float]


def batch_gradient(
    model: Any, loss: Loss, batches: Iterable[MicroBatch], left_out: float = 0.0
) -> Gradient:
    """Return the gradient of `loss` over all `batches`; the model's own `.grad` is cleared.

    `left_out` is the normaliser of rows that were not computed because their gradient is zero.
    Metrics are means over what was computed.
    """
    model.zero_grad(set_to_none=True)
    computed, sums = 0.0, defaultdict[str, float](float)
    for batch in batches:
        batch = _on_device(batch, model.device)
        total, normaliser, metrics = loss.loss(policy_logprobs(model, batch), batch.loss_batch)
        total.backward()
        computed += normaliser
        for name, value in metrics.items():
            sums[name] += value
    weight = computed + left_out
    tensors = {
        name: _mean(parameter, weight)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    model.zero_grad(set_to_none=True)
    means = {name: value / computed for name, value in sums.items()}
    return Gradient(tensors=tensors, weight=weight, metrics=means)


def policy_logprobs(model: Any, batch: MicroBatch) -> Tensor:
    """Return float32[R, T - first]: log pi(token | all before it) at the sampling temperature."""
    columns = batch.tokens.shape[1] - batch.first
    logits = model(input_ids=batch.tokens, use_cache=False, logits_to_keep=columns + 1).logits
    scaled = logits[:, :-1].float() / batch.temperature[:, :, None]
    targets = batch.tokens[:, batch.first :, None]
    return scaled.gather(2, targets)[:, :, 0] - scaled.logsumexp(2)


def _mean(parameter: Any, weight: float) -> Tensor:
    if parameter.grad is None:  # a parameter that the loss does not reach
        return torch.zeros_like(parameter, dtype=torch.float32, device="cpu")
    return (parameter.grad / weight).to("cpu", torch.float32)


def _on_device(batch: MicroBatch, device: Any) -> MicroBatch:
    loss_batch = batch.loss_batch
    moved = {
        field.name: getattr(loss_batch, field.name).to(device)
        for field in attrs.fields(type(loss_batch))
    }
    return attrs.evolve(
        batch,
        tokens=batch.tokens.to(device),
        temperature=batch.temperature.to(device),
        loss_batch=attrs.evolve(loss_batch, **moved),
    )
