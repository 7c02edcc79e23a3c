"""What the policy says of the tokens of a micro-batch: log-probs and entropies.

All at the sampling temperature: that is the policy that sampled and is trained. Neighbours:
`gradient` and `survey` ask the model that is trained, `regularisation` the reference as well.
Shapes: N = S x K logits of V words, computed once where rows share them; R rows of C tokens.
"""

from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ralo_worker.trainer.micro_batches import MicroBatch

_CHUNK_VALUES, _CPU_CHUNK_VALUES = 1 << 24, 1 << 18
"""Logits whose softmax is in memory at a time: 64 MiB, or what stays in a core's cache."""


def token_logits(model: Any, batch: MicroBatch) -> Tensor:
    """Return float32[N, V]: the logits of a micro-batch divided by the sampling temperature."""
    logits = model(
        input_ids=batch.tokens,
        position_ids=batch.positions,
        attention_mask=batch.attention,
        use_cache=False,
        logits_to_keep=batch.tokens.shape[1] - batch.first + 1,
    ).logits
    return (logits.float() / batch.temperature[:, :, None]).flatten(0, 1)


def chosen_logprobs(logits: Tensor, batch: MicroBatch) -> Tensor:
    """Return float32[R, C]: log pi(token | all before it) from `token_logits`.

    What is behind a row's end is any number.
    """
    chosen = logits[batch.predictors, batch.targets]
    return chosen - logits.logsumexp(1)[batch.predictors]


def policy_logprobs(model: Any, batch: MicroBatch) -> Tensor:
    """Return float32[R, C]: what `chosen_logprobs` are by `model`."""
    return chosen_logprobs(token_logits(model, batch), batch)


def entropies(logits: Tensor, batch: MicroBatch) -> Tensor:
    """Return float32[R, C]: the entropy of the whole distribution that each token is drawn from,
    in nats, with a gradient where gradients are on.

    No more than a chunk of the probabilities is ever kept; with a gradient they are computed twice.
    """
    values = _CPU_CHUNK_VALUES if logits.device.type == "cpu" else _CHUNK_VALUES
    rows = max(1, values // logits.shape[1])
    parts = [
        checkpoint(_entropy, part, use_reentrant=False, preserve_rng_state=False)
        for part in logits.split(rows)
    ]
    return torch.cat(parts)[batch.predictors]


def _entropy(logits: Tensor) -> Tensor:
    logprobs = logits.log_softmax(1)
    return -(logprobs.exp() * logprobs).sum(1)


def on_device(batch: MicroBatch, device: Any) -> MicroBatch:
    """Return `batch` with all its tensors on `device`."""
    loss_batch = attrs.evolve(batch.loss_batch, **_moved(batch.loss_batch, device))
    return attrs.evolve(batch, loss_batch=loss_batch, **_moved(batch, device))


def _moved(instance: Any, device: Any) -> dict[str, Any]:
    """Return the tensors among its fields, on `device`."""
    values = {field.name: getattr(instance, field.name) for field in attrs.fields(type(instance))}
    return {name: value.to(device) for name, value in values.items() if torch.is_tensor(value)}
