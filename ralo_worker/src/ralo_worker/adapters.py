"""A model with a LoRA adapter on it, as transformers and peft open it, and its tensors' names.

What is published of such a model is its adapter, under peft's names; transformers has others for
the same tensors while they are in the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from ralo_core import RaloError
from ralo_core.adapters import adapter_names, has_adapter

_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


def open_causal_lm(directory: Path, **options: Any) -> Any:
    """Return the model in `directory`, with the adapter that lies beside it, if one does.

    `options` are those of ``from_pretrained``. Raises `RaloError` for what is no model.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(directory, **options)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: of another shape
        msg = f"cannot open the model in {directory}: {error}"
        raise RaloError(msg) from error


def published_name(name: str) -> str:
    """Return the name under which the parameter `name` of a model is published."""
    for ending, index in ((_DOWN, 0), (_UP, 1)):
        if name.endswith(ending):
            return adapter_names(name.removesuffix(ending))[index]
    return name


def published_tensors(model: Any, directory: Path) -> dict[str, Tensor]:
    """Return the tensors of `model` that a version like the one in `directory` changes, by their
    published names: all, or those of the adapter."""
    tensors: dict[str, Tensor] = model.state_dict()
    if has_adapter(directory):
        tensors = {name: tensors[name] for name in tensors if name.endswith((_DOWN, _UP))}
    return {published_name(name): tensor for name, tensor in tensors.items()}


def adapter_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of the adapter of `model`, by their own names."""
    return {n: p for n, p in model.named_parameters() if n.endswith((_DOWN, _UP))}


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Let `model` compute as if it had no adapter, for as long as the block runs."""
    # Two seconds that a run of the whole model need not wait for.
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)
