"""Random rollout trees for checks: uneven depths, shared prefixes, single leaves."""

import numpy as np

from ralo_core.data import PROMPT, RolloutTree, TreeBuilder


def random_tree(seed: int, segments: int = 12, vocabulary: int = 50) -> RolloutTree:
    """Return a valid, scored tree of at most `segments` segments; a function of `seed`."""
    rng = np.random.default_rng(seed)
    builder = TreeBuilder(f"p{seed}", rng.integers(0, vocabulary, rng.integers(1, 6)).tolist())
    parents = [PROMPT]
    inner = set()
    for _ in range(int(rng.integers(1, segments + 1))):
        parent = int(rng.choice(parents))
        inner.add(parent)
        size = int(rng.integers(1, 6))
        tokens, logprobs = rng.integers(0, vocabulary, size), -rng.uniform(0.1, 4.0, size)
        parents.append(builder.add_segment(parent, tokens, logprobs, int(rng.integers(0, 3))))
    for node in parents[1:]:
        if node not in inner:
            builder.add_leaf(node, "eos")
    tree = builder.build()
    rewards = rng.integers(0, 2, len(tree.leaves)).astype(np.float32)
    return tree.with_rewards({"reward": rewards}, rewards)
