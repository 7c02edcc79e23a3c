"""A batch whose logits take most of what it takes, and what computes it."""

import numpy as np
from small_models import small_policy

from ralo_core import PROMPT, TreeBuilder
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel

WORDS, STEM, OWN, LEAVES, GROUPS = 40_000, 48, 15, 8, 2
"""A token's logits are 160 kB, those of a batch 54 MB; an operation has two or three of them."""


def trees(words=WORDS):
    """Two groups whose responses share most of their tokens, so that they are one sequence each
    where memory allows."""
    rng = np.random.default_rng(0)
    return [_group(rng, words) for _ in range(GROUPS)]


def _group(rng, words):
    builder = TreeBuilder(f"p{rng.integers(1e9)}", [1])
    stem = builder.add_segment(PROMPT, *_segment(rng, STEM, words), 0)
    for _ in range(LEAVES):
        builder.add_leaf(builder.add_segment(stem, *_segment(rng, OWN, words), 0), "eos")
    return builder.build().with_rewards({}, rng.normal(size=LEAVES).astype(np.float32))


def _segment(rng, size, words):
    return rng.integers(0, words, size), -rng.uniform(10, 11, size)


def computation(*settings, words=WORDS):
    """What computes the gradients of a run with `settings`, all logits of a micro-batch at once."""
    registry = Registry(PluginHost(strict=True).load())
    config = resolve([set_layer(["trainer.head_chunk_mb=0", *settings])], registry)
    return open_data_parallel(config, small_policy(vocab_size=words))
