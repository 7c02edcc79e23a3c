"""What is kept of a tree for a step's metrics: counts and sums, small enough for its row.

They are stored with the tree. A step adds up those of many trees, which are gone by then.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ralo_core.data import RolloutTree

_MOST_NUMBERS = 16
_LARGEST = 1e15
"""Of a sampling algorithm's own numbers: what is beyond, or not a number, is no count."""


def tree_summary(tree: RolloutTree) -> Mapping[str, Any]:
    """Return the summary of one tree, JSON-able.

    - `leaves`, `tokens` (decoded), `leaf_tokens` (of all responses, what is shared once for each);
    - `reward` and `parts`: sums over the leaves;
    - `solved`: leaves whose first reward is at least 1, None where rewards have no parts;
    - `equal_rewards`: whether all leaves have the same reward;
    - `depths`: leaves by the segments on their path; `stops`: leaves by their finish reason;
    - `used_tokens`: those decoded that are part of a leaf's response;
    - `unique_leaves`: different responses;
    - `first_branches`: segments right after the prompt that leaves come from;
    - `sampling`: the numbers among the metadata, at most 16, the first by name.
    """
    paths = [tree.path(leaf) for leaf in range(len(tree.leaves))]
    used = sorted({segment for path in paths for segment in path})
    responses = {tree.leaf_tokens(leaf).tobytes() for leaf in range(len(paths))}
    return {
        "leaves": len(paths),
        "tokens": len(tree.tokens),
        "leaf_tokens": int(tree.response_lengths().sum()),
        "reward": float(tree.rewards.sum()),
        "parts": {name: float(part.sum()) for name, part in tree.reward_parts.items()},
        "solved": _solved(tree),
        "equal_rewards": bool((tree.rewards == tree.rewards[0]).all()),
        "depths": {str(depth): count for depth, count in Counter(map(len, paths)).items()},
        "stops": dict(Counter(tree.finish_reasons)),
        "used_tokens": int(np.diff(tree.offsets)[used].sum()),
        "unique_leaves": len(responses),
        "first_branches": len({path[0] for path in paths}),
        "sampling": _numbers(tree.metadata),
    }


def _solved(tree: RolloutTree) -> int | None:
    first = next(iter(tree.reward_parts.values()), None)
    return None if first is None else int((first >= 1).sum())


def _numbers(metadata: Mapping[str, Any]) -> dict[str, float]:
    numbers = {
        name: value
        for name, value in sorted(metadata.items())
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    }
    return dict(list(numbers.items())[:_MOST_NUMBERS])
