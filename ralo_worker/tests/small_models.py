"""A model of random weights and random rollout trees, small enough to check gradients by hand."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, TreeBuilder
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs


def small_model(seed=0, **options):
    """A Qwen2 of two layers; `options` are further ones of its config."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    config = Qwen2Config(**shape | options)
    return Qwen2ForCausalLM(config).eval()


def small_policy(seed=0, **options):
    return Policy(small_model(seed, **options))


def random_tree(rng, leaves):
    """A tree with shared prefixes of uneven length and behaviour log-probs near the policy's."""
    builder = TreeBuilder(f"p{rng.integers(1e9)}", rng.integers(0, 50, rng.integers(1, 7)), 0.8)
    nodes = [PROMPT]
    for _ in range(leaves):
        parent = nodes[rng.integers(len(nodes))]
        size = int(rng.integers(1, 9))
        logprobs = -rng.uniform(2.5, 5.0, size)
        node = builder.add_segment(parent, rng.integers(0, 50, size), logprobs, 0)
        nodes.append(node)
        builder.add_leaf(node, "eos")
    return builder.build()


def one_batch(rows):
    return micro_batches(list(make_packs(rows, 0)), 10_000, 0)
