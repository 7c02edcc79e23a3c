"""What the policy says of the tokens of a micro-batch: log-probs and entropies.

All at the sampling temperature: that is the policy that sampled and is trained. Everything that
touches weights runs inside one `Policy.forward`, so that a sharded policy can gather them there.
Neighbours: `gradient` and `survey` ask the policy that is trained, `regularisation` the reference
as well. Shapes: N = S x K logits of V words, computed once where rows share them; R rows of C
tokens.
"""

from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ralo_worker.trainer.micro_batches import MicroBatch

_CHUNK_VALUES, _CPU_CHUNK_VALUES = 1 << 24, 1 << 18
"""Logits whose softmax is in memory at a time: 64 MiB, or what stays in a core's cache."""


class Policy(torch.nn.Module):
    """A Hugging Face causal `model` as the trainer asks it; its parameters keep their names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where the weights are, and a micro-batch must be."""
        return torch.device(self.model.device)

    def forward(self, batch: MicroBatch, entropy_slope: bool = False) -> tuple[Tensor, Tensor]:
        """Return, each float32[R, C], log pi(token | all before it) and the entropy in nats of the
        whole distribution that the token is drawn from, this with a gradient only where
        `entropy_slope` says so.

        What is behind a row's end is any number.
        """
        logits = _token_logits(self.model, batch)
        logprobs = _chosen_logprobs(logits, batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and entropy_slope):
            return logprobs, entropies(logits, batch)


def _token_logits(model: Any, batch: MicroBatch) -> Tensor:
    """Return float32[N, V]: the logits of a micro-batch divided by the sampling temperature."""
    logits = model(
        input_ids=batch.tokens,
        position_ids=batch.positions,
        attention_mask=batch.attention,
        use_cache=False,
        logits_to_keep=batch.tokens.shape[1] - batch.first + 1,
    ).logits
    return (logits.float() / batch.temperature[:, :, None]).flatten(0, 1)


def _chosen_logprobs(logits: Tensor, batch: MicroBatch) -> Tensor:
    chosen = logits[batch.predictors, batch.targets]
    return chosen - logits.logsumexp(1)[batch.predictors]


def entropies(logits: Tensor, batch: MicroBatch) -> Tensor:
    """Return float32[R, C]: the entropies of the distributions of `logits`, with a gradient where
    gradients are on.

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
