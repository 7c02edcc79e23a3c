"""The contents of models, trees and gradients, so that everybody can make them again.

Each is a function of an id, so that `replay` can recompute what a killed worker sent.
"""

import hashlib
import json

import numpy as np
import torch
from safetensors.torch import save_file

from ralo_core import PROMPT, TreeBuilder

SHAPES = {"a.weight": (48, 16), "b.bias": (37,)}
CHUNK_BYTES = 1024
"""Small, so that a gradient takes several chunks."""


def write_model(folder):
    """Write a model directory of a few small tensors."""
    folder.mkdir()
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=random) for name, shape in SHAPES.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def make_tree(problem_id, lease_id, version):
    """Return a tree whose size and rewards follow from its lease."""
    dice = _dice(lease_id)
    builder = TreeBuilder(problem_id, [1, 2, 3], lease_id=lease_id)
    for _ in range(dice.integers(2, 5)):
        tokens = dice.integers(0, 100, dice.integers(1, 6))
        segment = builder.add_segment(PROMPT, tokens, -np.ones(len(tokens)), version)
        builder.add_leaf(segment, "eos")
    rewards = dice.random(builder.leaf_count).astype(np.float32)
    return builder.build().with_rewards({}, rewards)


def make_gradient(upload_id, leases):
    """Return the values that follow from an upload's id and its batch's trees, by tensor."""
    dice = _dice(upload_id, *leases)
    return {
        name: dice.normal(size=int(np.prod(shape))).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def weight_of(leases):
    """Return the weight of a gradient over these trees."""
    return float(len(leases))


def _dice(*words):
    seed = hashlib.sha256(" ".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(seed[:8], "little"))
