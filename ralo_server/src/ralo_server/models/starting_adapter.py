"""The adapter that a LoRA run begins with, in peft's format, for the layers of a model.

A is drawn as the weights of a linear layer are (Kaiming), B is 0: the run begins at the model as it
is. Only names and shapes are looked at, not the architecture: a layer is a matrix within a numbered
block.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ralo_core.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_names
from ralo_core.config import LoraSettings
from ralo_core.errors import ConfigError
from ralo_core.files.atomic import write_blob
from ralo_core.files.safetensors_layout import read_places
from ralo_server.models.model_files import model_type, weight_files

Layers = Mapping[str, tuple[int, int]]
"""Name of a layer -> its outputs and inputs."""

_LAYER = re.compile(r"(.+\.\d+\..+)\.weight")
_TRANSPOSED = frozenset({"gpt2", "openai-gpt"})
"""Their matrices are [inputs, outputs], which the files do not tell."""


def chosen_layers(model: Path, lora: LoraSettings) -> Layers:
    """Return the layers of the directory `model` that get an adapter.

    Raises `ConfigError` for a target that the model does not have, naming what it has, and for a
    rank that is larger than a layer.
    """
    if model_type(model) in _TRANSPOSED:
        raise ConfigError([f"lora.rank: adapters of a {model_type(model)} model are not supported"])
    layers = _layers(model)
    if not layers:
        msg = f"lora.rank: run.model = '{model}' has no linear layer within a numbered block"
        raise ConfigError([msg])
    targets = lora.targets or _endings(layers)
    unknown = [target for target in targets if not any(_is(name, target) for name in layers)]
    if unknown:
        have = ", ".join(_endings(layers))
        raise ConfigError([f"lora.targets: run.model has no {', '.join(unknown)}; it has {have}"])
    chosen = {n: s for n, s in layers.items() if any(_is(n, target) for target in targets)}
    small = [f"{name} {list(size)}" for name, size in chosen.items() if min(size) < lora.rank]
    if small:
        msg = f"lora.rank = {lora.rank} is larger than {len(small)} layers, the first is {small[0]}"
        raise ConfigError([msg])
    return chosen


def write_starting_adapter(folder: Path, layers: Layers, lora: LoraSettings, seed: int) -> None:
    """Write the adapter of `layers` into `folder`, in float32."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    for layer in sorted(layers):
        outputs, inputs = layers[layer]
        down, up = adapter_names(layer)
        bound = 1 / math.sqrt(inputs)
        tensors[down] = random.uniform(-bound, bound, (lora.rank, inputs)).astype(np.float32)
        tensors[up] = np.zeros((outputs, lora.rank), np.float32)
    body = safetensors.numpy.save(tensors, {"format": "pt"})
    write_blob(folder / ADAPTER_WEIGHTS, body)


def write_adapter_config(folder: Path, model: Path, layers: Layers, lora: LoraSettings) -> None:
    """Write what peft and vLLM have to know of the adapter of `layers` into `folder`."""
    document = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model.resolve()),
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        "target_modules": lora.targets or _endings(layers),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_blob(folder / ADAPTER_CONFIG, json.dumps(document, indent=1).encode())


def _layers(model: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for file in weight_files(model):
        for name, place in read_places(file).items():
            match = _LAYER.fullmatch(name)
            if match and len(place.shape) == 2:
                found[match[1]] = (place.shape[0], place.shape[1])
    return found


def _endings(layers: Layers) -> Sequence[str]:
    return sorted({name.rpartition(".")[2] for name in layers})


def _is(layer: str, target: str) -> bool:
    return f".{layer}".endswith(f".{target}")
