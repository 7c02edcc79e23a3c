"""The tree of the worked example in the reference, section 2.4."""

import numpy as np

from ralo_core import PROMPT, TreeBuilder

REWARDS = [1, 0, 1, 1, 0, 0, 1, 0]


def binary_tree(rewards=REWARDS, tokens=4):
    """root -> 2 -> 4 -> 8 leaves; every segment has `tokens` tokens, a leaf 3 segments."""
    builder = TreeBuilder("p", [1])
    level = [PROMPT]
    for _ in range(3):
        level = [
            builder.add_segment(parent, range(tokens), [-1.0] * tokens, 0)
            for parent in level
            for _ in range(2)
        ]
    for node in level:
        builder.add_leaf(node, "eos")
    return builder.build().with_rewards({}, np.asarray(rewards, np.float32))
