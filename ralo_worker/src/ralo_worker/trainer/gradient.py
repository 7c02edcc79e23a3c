"""The gradient of one batch: log-probs of its tokens under the policy, loss, backward.

    gradient = d( sum over micro-batches of loss sums ) / d(theta) / (sum of normalisers)

so it does not depend on how the batch is cut. Neighbours: `trainer.runtime` uploads it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from ralo_core.protocols import Correction, Loss, LossBatch
from ralo_worker.trainer.micro_batches import MicroBatch
from ralo_worker.trainer.off_policy import Distance


@attrs.frozen(kw_only=True)
class Gradient:
    """Mean gradient per parameter name (float32), the normaliser behind it, mean metrics."""

    tensors: dict[str, Tensor]
    weight: float
    metrics: dict[str, float]


def batch_gradient(
    model: Any,
    loss: Loss,
    batches: Iterable[MicroBatch],
    left_out: float = 0.0,
    corrections: Sequence[Correction] = (),
) -> Gradient:
    """Return the gradient of `loss` over all `batches`; the model's own `.grad` is cleared.

    `corrections` weigh the advantages by how far the policy is from what sampled.
    `left_out` is the normaliser of rows that were not computed because their gradient is zero.
    Metrics are means over what was computed.
    """
    model.zero_grad(set_to_none=True)
    computed, sums, distance = 0.0, defaultdict[str, float](float), Distance()
    for batch in batches:
        batch = _on_device(batch, model.device)
        logprobs = policy_logprobs(model, batch)
        log_ratio = batch.loss_batch.log_ratio(logprobs.detach())
        distance.add(log_ratio, batch.loss_batch)
        weighed = _corrected(batch.loss_batch, log_ratio, corrections)
        total, normaliser, metrics = loss.loss(logprobs, weighed)
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
    return Gradient(tensors=tensors, weight=weight, metrics={**distance.metrics(), **means})


def policy_logprobs(model: Any, batch: MicroBatch) -> Tensor:
    """Return float32[R, C]: log pi(token | all before it) at the sampling temperature.

    Tokens that rows share are computed once; what is behind a row's end is any number.
    """
    logits = model(
        input_ids=batch.tokens,
        position_ids=batch.positions,
        attention_mask=batch.attention,
        use_cache=False,
        logits_to_keep=batch.tokens.shape[1] - batch.first + 1,
    ).logits
    scaled = (logits.float() / batch.temperature[:, :, None]).flatten(0, 1)
    chosen = scaled[batch.predictors, batch.targets]
    return chosen - scaled.logsumexp(1)[batch.predictors]


def _corrected(batch: LossBatch, log_ratio: Tensor, corrections: Sequence[Correction]) -> LossBatch:
    advantages = batch.advantages
    for correction in corrections:
        advantages = advantages * correction.weigh(log_ratio, batch)
    return attrs.evolve(batch, advantages=advantages)


def _mean(parameter: Any, weight: float) -> Tensor:
    if parameter.grad is None:  # a parameter that the loss does not reach
        return torch.zeros_like(parameter, dtype=torch.float32, device="cpu")
    return (parameter.grad / weight).to("cpu", torch.float32)


def _on_device(batch: MicroBatch, device: Any) -> MicroBatch:
    loss_batch = attrs.evolve(batch.loss_batch, **_moved(batch.loss_batch, device))
    return attrs.evolve(batch, loss_batch=loss_batch, **_moved(batch, device))


def _moved(instance: Any, device: Any) -> dict[str, Any]:
    """Return the tensors among its fields, on `device`."""
    values = {field.name: getattr(instance, field.name) for field in attrs.fields(type(instance))}
    return {name: value.to(device) for name, value in values.items() if torch.is_tensor(value)}
