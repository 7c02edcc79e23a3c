"""Compute keys and values of many prompts in few forward passes.

Prompts are padded on the right: with causal attention no real token sees a pad, so no mask
is needed and the keys and values of the real tokens stand first.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from ralo_core import RaloError
from ralo_worker.engines.transformers.prefix_cache import KeysValues, Prefix

MAX_PADDED_TOKENS = 16384
"""Rows x columns of one forward pass; bounds its memory."""


def prefill(model: Any, prefixes: Sequence[Prefix]) -> Iterator[tuple[Prefix, KeysValues]]:
    """Yield every prefix with its keys and values, [layers, heads, tokens, dim] each."""
    for chunk in _chunks(sorted(prefixes, key=len)):
        keys, values = _forward(model, chunk)
        for row, prefix in enumerate(chunk):
            yield prefix, (keys[:, row, :, : len(prefix)], values[:, row, :, : len(prefix)])


def probe(model: Any) -> KeysValues:
    """Return keys and values [layers, 1, heads, 1, dim] of one token, to learn their shapes.

    Raises `RaloError` if the model's layers are not all alike and of full attention, which is
    what the engine's window can hold.
    """
    with torch.inference_mode():
        return _forward(model, [(0,)])


def _chunks(prefixes: Sequence[Prefix]) -> Iterator[Sequence[Prefix]]:
    start = 0
    for end in range(1, len(prefixes) + 1):
        if end == len(prefixes) or (end + 1 - start) * len(prefixes[end]) > MAX_PADDED_TOKENS:
            yield prefixes[start:end]
            start = end


def _forward(model: Any, prefixes: Sequence[Prefix]) -> KeysValues:
    width = len(prefixes[-1])
    padded = [prefix + (0,) * (width - len(prefix)) for prefix in prefixes]
    cache = DynamicCache(config=model.config)
    model.base_model(
        input_ids=torch.tensor(padded, device=model.device), past_key_values=cache, use_cache=True
    )
    _check_layers(model, cache)
    keys = torch.stack([layer.keys for layer in cache.layers])
    values = torch.stack([layer.values for layer in cache.layers])
    return keys, values


def _check_layers(model: Any, cache: DynamicCache) -> None:
    kinds = {type(layer).__name__ for layer in cache.layers}
    if kinds == {DynamicLayer.__name__}:
        shapes = {(layer.keys.shape, layer.values.shape) for layer in cache.layers}
        if len(shapes) == 1:
            return
        kinds = {str(tuple(shape)) for pair in shapes for shape in pair}
    msg = (
        f"the transformers engine cannot run {type(model).__name__}: it needs layers of full "
        f'attention that are all alike, found {", ".join(sorted(kinds))}; use [engine] use = "vllm"'
    )
    raise RaloError(msg)
