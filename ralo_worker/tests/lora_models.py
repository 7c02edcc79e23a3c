"""Models with an adapter beside them, made and saved by peft: what our own code is held to."""

import json
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open

RANK, ALPHA = 4, 10
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def with_adapter(model, seed, targets=TARGETS):
    """Return `model` inside peft's, with an adapter that is far from nothing."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            values = torch.randn(parameter.shape, generator=generator)
            parameter.data = values * 0.3 if "lora_B" in name else values * 0.1
    return adapted


def save_version(adapted, base, directory):
    """Save the adapter of `adapted` as a version: beside the files of the directory `base`."""
    shutil.copytree(base, directory)
    with safe_open(directory / "model.safetensors", "pt") as file:
        index = {"metadata": {}, "weight_map": dict.fromkeys(file.keys(), "model.safetensors")}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    adapted.save_pretrained(directory)
    return directory
