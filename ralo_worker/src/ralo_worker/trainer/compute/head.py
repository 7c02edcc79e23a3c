"""From hidden states to log-probs and entropies, without the logits of all of them at once.

Logits are what takes most memory with a large vocabulary: 16,384 tokens of 152,000 words are 9 GiB
in float32, and training holds several such tensors. Here the head, the softmax and what is kept of
them (two numbers per token) are computed chunk by chunk, and again, chunk by chunk, in the backward
pass. Shapes: N predictors, V words.
"""

import logging
from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

log = logging.getLogger(__name__)

_SOFTMAX_VALUES, _CPU_SOFTMAX_VALUES = 1 << 24, 1 << 18
"""Logits whose entropy is computed at a time: 64 MiB, or what stays in a core's cache."""
_LARGE_LOGIT = 100.0


@attrs.frozen(kw_only=True)
class Pairs:
    """Which words' log-probs are asked for: `predictors` and `targets`, int64 of one shape; several
    pairs may share a predictor, as branches of a tree do."""

    predictors: Tensor
    targets: Tensor


def own_head(model: Any) -> torch.nn.Module | None:
    """Return the module that makes logits of the hidden states of `model`, None where the model
    does more than that module, which is tried out on a few tokens.

    A cap on the logits shows only where they are large, so the hidden states are made large.
    """
    head: torch.nn.Module = model.get_output_embeddings()
    seen: list[Tensor] = []

    def enlarge(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        hidden = hidden * (_LARGE_LOGIT / head(hidden).abs().max().clamp(min=1e-6))
        seen.append(hidden)
        output.last_hidden_state = hidden
        return output

    tokens = torch.arange(min(8, model.config.vocab_size), device=model.device)[None]
    hook = model.get_decoder().register_forward_hook(enlarge)
    try:
        with torch.no_grad():
            logits = model(input_ids=tokens, use_cache=False).logits
            found = head(seen[0])
    finally:
        hook.remove()
    if found.shape == logits.shape and torch.allclose(found, logits, rtol=1e-3, atol=1e-2):
        return head
    log.warning(
        "the logits of %s are not what its head gives, so trainer.head_chunk_mb saves little: "
        "all logits of a micro-batch are held at once",
        type(model).__name__,
    )
    return None


def token_values(
    head: torch.nn.Module,
    hidden: Tensor,
    temperature: Tensor,
    pairs: Pairs,
    chunk: int,
    entropy_slope: bool,
) -> tuple[Tensor, Tensor]:
    """Return the log-probs of `pairs`, float32 of their shape, and the entropies float32[N], these
    with a gradient only where `entropy_slope` says so.

    `hidden` is [N, H] and `temperature` float32[N]. `chunk` predictors are computed at a time; if
    that is all of them, nothing is computed twice.
    """
    if len(hidden) <= chunk:
        return _chunk_values(head, hidden, temperature, pairs, entropy_slope)
    order = pairs.predictors.flatten().argsort(stable=True)
    logprobs, entropies = [], []
    for begin, some in _cut(pairs, order, len(hidden), chunk):
        chosen, entropy = checkpoint(
            _chunk_values, head, hidden[begin : begin + chunk], temperature[begin : begin + chunk],
            some, entropy_slope, use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
        logprobs.append(chosen)
        entropies.append(entropy)
    places = order.argsort().view_as(pairs.predictors)
    return torch.cat(logprobs)[places], torch.cat(entropies)


def _cut(pairs: Pairs, order: Tensor, count: int, chunk: int) -> Iterator[tuple[int, Pairs]]:
    """Yield the first predictor of every chunk and its pairs, whose predictors count from there;
    `order` sorts `pairs` by predictor."""
    predictors, targets = pairs.predictors.flatten()[order], pairs.targets.flatten()[order]
    begins = torch.arange(0, count + chunk, chunk, device=order.device)
    bounds = torch.searchsorted(predictors, begins).tolist()
    for index in range(len(bounds) - 1):
        some = slice(bounds[index], bounds[index + 1])
        begin = index * chunk
        yield begin, Pairs(predictors=predictors[some] - begin, targets=targets[some])


def _chunk_values(
    head: torch.nn.Module,
    hidden: Tensor,
    temperature: Tensor,
    pairs: Pairs,
    entropy_slope: bool,
) -> tuple[Tensor, Tensor]:
    logits = head(hidden).float() / temperature[:, None]
    chosen = logits[pairs.predictors, pairs.targets] - logits.logsumexp(1)[pairs.predictors]
    with torch.set_grad_enabled(torch.is_grad_enabled() and entropy_slope):
        return chosen, entropies(logits)


def entropies(logits: Tensor) -> Tensor:
    """Return float32[N]: the entropies in nats of the distributions of `logits` float32[N, V], with
    a gradient where gradients are on.

    No more than a part of the probabilities is ever kept; with a gradient they are computed twice.
    """
    values = _CPU_SOFTMAX_VALUES if logits.device.type == "cpu" else _SOFTMAX_VALUES
    rows = max(1, values // logits.shape[1])
    parts = [
        checkpoint(_entropy, part, use_reentrant=False, preserve_rng_state=False)
        for part in logits.split(rows)
    ]
    return torch.cat(parts)


def _entropy(logits: Tensor) -> Tensor:
    logprobs = logits.log_softmax(1)
    return -(logprobs.exp() * logprobs).sum(1)
