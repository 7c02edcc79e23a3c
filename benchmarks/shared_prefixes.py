"""The gradient of tree rollouts with every shared prefix computed once, against leaf by leaf.

Trees as the demo's and as large as one core takes, on a model of a few million parameters; both
ways in turn on the same trees. The gradients are compared, too.

    python benchmarks/shared_prefixes.py [REPEATS]
"""

import statistics
import sys
import time

import numpy as np
import torch
from contestants.one_gradient import gradient_of
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, BuildContext, RolloutTree, TreeBuilder
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.model import pair_cost
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

PROMPT_TOKENS, TREES, MICROBATCH_TOKENS = 24, 8, 16384
SHAPES = [(8, 4, 8), (16, 4, 16), (16, 7, 32), (16, 14, 16), (1, 1, 64)]
"""Width, depth, tokens of a segment; the last one has nothing to share."""


def full_tree(width: int, depth: int, segment: int, seed: int) -> RolloutTree:
    """Return a tree that doubles until its width, all leaves at the same depth."""
    rng = np.random.default_rng(seed)
    builder = TreeBuilder(f"p{seed}", rng.integers(0, 64, PROMPT_TOKENS).tolist())
    nodes = [PROMPT]
    for _ in range(depth):
        copies = min(2, max(1, width // len(nodes)))
        nodes = [
            builder.add_segment(node, rng.integers(0, 64, segment), -rng.uniform(3, 5, segment), 0)
            for node in nodes
            for _ in range(copies)
        ]
    for node in nodes:
        builder.add_leaf(node, "length")
    return builder.build()


def gradient(
    model: Qwen2ForCausalLM, trees: list[RolloutTree], limit: int
) -> dict[str, torch.Tensor]:
    """Return the gradient of the clip loss with packs of at most `limit` tokens."""
    rng = np.random.default_rng(0)
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    packs = list(make_packs(make_rows(trees, advantages), limit, pair_cost(model)))
    loss = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    return gradient_of(Policy(model), loss, micro_batches(packs, MICROBATCH_TOKENS, 0))


def main() -> None:
    """Print a line per shape."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=256, intermediate_size=704, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    print("width depth segment | tokens shared/by leaf | seconds shared/by leaf | difference")
    for width, depth, segment in SHAPES:
        trees = [full_tree(width, depth, segment, seed) for seed in range(TREES)]
        times: dict[int, list[float]] = {0: [], 2048: []}
        results = {}
        for _ in range(repeats):
            for limit, taken in times.items():
                started = time.perf_counter()
                results[limit] = gradient(model, trees, limit)
                taken.append(time.perf_counter() - started)
        shared, single = (statistics.median(times[limit]) for limit in (2048, 0))
        tokens = [
            sum(len(pack.tokens) for pack in make_packs(_rows(trees), limit, pair_cost(model)))
            for limit in (2048, 0)
        ]
        difference = max(
            float((results[2048][name] - value).norm() / value.norm())
            for name, value in results[0].items()
        )
        print(
            f"{width:5} {depth:5} {segment:7} | {tokens[0]:6} / {tokens[1]:6} = "
            f"{tokens[0] / tokens[1]:.2f} | {shared:.2f} / {single:.2f} = {shared / single:.2f}"
            f" | {difference:.1e}"
        )


def _rows(trees: list[RolloutTree]) -> list:
    return make_rows(trees, [np.ones(len(tree.leaves), np.float32) for tree in trees])


if __name__ == "__main__":
    main()
