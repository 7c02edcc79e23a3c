"""What the policy says of the tokens of a micro-batch: log-probs and entropies.

All at the sampling temperature: that is the policy that sampled and is trained. Everything that
touches weights runs inside one `Policy.forward`, so that a sharded policy can gather them there.
Shapes: N predictors, computed once where rows share them; R rows of C tokens.
"""

from typing import Any

import attrs
import torch
from torch import Tensor

from ralo_core.config import TrainerSettings
from ralo_worker.trainer.compute.checkpointing import recompute
from ralo_worker.trainer.compute.head import Pairs, own_head, token_values
from ralo_worker.trainer.layout.micro_batches import MicroBatch

_CHUNK_BYTES = 1 << 20


class Policy(torch.nn.Module):
    """A Hugging Face causal `model` as the trainer asks it; its parameters keep their names.

    Of `settings` those that say how it is computed: chunks of the head, layers that are recomputed,
    precision. It runs a few tokens through the model, so it is made before the model is sharded.
    """

    def __init__(self, model: Any, settings: TrainerSettings | None = None) -> None:
        super().__init__()
        settings = settings or TrainerSettings()
        self.model = model
        self._separate = own_head(model) is not None
        self._half = settings.precision == "bfloat16"
        self._chunk_values = settings.head_chunk_mb * (_CHUNK_BYTES // 4)
        recompute(model, settings.checkpoint_layers)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and a micro-batch must be."""
        return torch.device(self.model.device)

    def forward(self, batch: MicroBatch, entropy_slope: bool = False) -> tuple[Tensor, Tensor]:
        """Return, each float32[R, C], log pi(token | all before it) and the entropy in nats of the
        whole distribution that the token is drawn from, this with a gradient only where
        `entropy_slope` says so.

        Values behind a row's end have no meaning.
        """
        # A weight is used once, so a cache of cast ones would only keep them all.
        with self._compute_type(cached=False):
            states = self._hidden(batch) if self._separate else self._logits(batch)
        head = self.model.get_output_embeddings() if self._separate else torch.nn.Identity()
        pairs = Pairs(predictors=batch.predictors, targets=batch.targets)
        with self._compute_type(cached=True):
            logprobs, entropies = token_values(
                head, states, batch.temperature, pairs, self._chunk(len(states)), entropy_slope
            )
        return logprobs, entropies[batch.predictors]

    def _compute_type(self, cached: bool) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self._half, cache_enabled=cached
        )

    def _chunk(self, count: int) -> int:
        if not self._chunk_values:
            return count
        return max(1, self._chunk_values // int(self.model.config.vocab_size))

    def _hidden(self, batch: MicroBatch) -> Tensor:
        """Return the states [N, H] that the head makes logits of."""
        states: Tensor = self.model.get_decoder()(**self._inputs(batch)).last_hidden_state
        return states.flatten(0, 1)[batch.places]

    def _logits(self, batch: MicroBatch) -> Tensor:
        """Return the logits [N, V] of a model whose head is not to be had by itself."""
        width = batch.tokens.shape[1]
        rows, columns = batch.places // width, batch.places % width
        first = int(columns.min())
        logits: Tensor = self.model(**self._inputs(batch), logits_to_keep=width - first).logits
        return logits[rows, columns - first]

    def _inputs(self, batch: MicroBatch) -> dict[str, Any]:
        return {
            "input_ids": batch.tokens,
            "position_ids": batch.positions,
            "attention_mask": self._mask(batch.attention),
            "use_cache": False,
        }

    def _mask(self, attention: Tensor | None) -> Tensor | None:
        """Return what is added to the products of attention: a bool mask would be turned into it,
        and the result kept, by every layer anew."""
        if attention is None:
            return None
        dtype = torch.bfloat16 if self._half else torch.float32
        return torch.zeros_like(attention, dtype=dtype).masked_fill_(~attention, -torch.inf)


def on_device(batch: MicroBatch, device: Any) -> MicroBatch:
    """Return `batch` with all its tensors on `device`."""
    loss_batch = attrs.evolve(batch.loss_batch, **_moved(batch.loss_batch, device))
    return attrs.evolve(batch, loss_batch=loss_batch, **_moved(batch, device))


def _moved(instance: Any, device: Any) -> dict[str, Any]:
    """Return the tensors among its fields, on `device`."""
    values = {field.name: getattr(instance, field.name) for field in attrs.fields(type(instance))}
    return {name: value.to(device) for name, value in values.items() if torch.is_tensor(value)}
