"""How the trees of a step grew: their shape, what they shared, why responses ended.

`docs/metrics.md` has a table of the names.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

DEEPEST = 16
"""Leaves below this depth share one name, however deep a sampling algorithm goes."""
_MOST_REASONS = 12
_MOST_NUMBERS = 16

Summary = Mapping[str, Any]
"""What the store keeps of a tree beside its file."""


def tree_diagnostics(trees: Sequence[Summary]) -> dict[str, float]:
    """Return shares and means over all leaves, tokens or trees of a step, and sums of the sampling
    algorithm's own numbers; nothing where no tree has these numbers."""
    # A tree that was queued by an earlier release has rewards only.
    known = [summary for summary in trees if "depths" in summary]
    if not known:
        return {}
    leaves, decoded = _sum(known, "leaves"), _sum(known, "tokens")
    one_by_one, depths = _sum(known, "leaf_tokens"), _counts(known, "depths")
    return {
        "decoded_tokens": decoded,
        "sharing_ratio": (one_by_one - decoded) / max(one_by_one, 1),
        "used_token_share": _sum(known, "used_tokens") / max(decoded, 1),
        "unique_leaf_share": _sum(known, "unique_leaves") / leaves,
        "zero_variance_share": _sum(known, "equal_rewards") / len(known),
        "first_branches": _sum(known, "first_branches") / len(known),
        "leaf_depth_mean": sum(int(depth) * count for depth, count in depths.items()) / leaves,
        **_shares("leaves_at_depth", _down_to(depths, DEEPEST), leaves),
        **_shares("stop", _most_frequent(_counts(known, "stops")), leaves),
        **{f"sampling/{name}": value for name, value in _numbers(known)},
    }


def _sum(trees: Sequence[Summary], name: str) -> int:
    return sum(summary[name] for summary in trees)


def _counts(trees: Sequence[Summary], name: str) -> Counter[str]:
    """Return the sum of the counts under `name`."""
    total: Counter[str] = Counter()
    for summary in trees:
        total.update(summary[name])
    return total


def _numbers(trees: Sequence[Summary]) -> Sequence[tuple[str, float]]:
    return sorted(_counts(trees, "sampling").items())[:_MOST_NUMBERS]


def _shares(prefix: str, counts: Mapping[str, int], whole: int) -> dict[str, float]:
    return {f"{prefix}/{name}": count / whole for name, count in counts.items()}


def _down_to(depths: Mapping[str, int], deepest: int) -> dict[str, int]:
    """Return the counts by depth, ascending, those below `deepest` under one name."""
    shown = {int(depth): count for depth, count in depths.items() if int(depth) <= deepest}
    deeper = sum(depths.values()) - sum(shown.values())
    named = {str(depth): shown[depth] for depth in sorted(shown)}
    return {**named, f"{deepest + 1}+": deeper} if deeper else named


def _most_frequent(reasons: Counter[str]) -> dict[str, int]:
    """Return the counts by reason, by name; rare ones beyond the twelfth are `other`."""
    shown = dict(sorted(reasons.most_common(_MOST_REASONS)))
    rest = reasons.total() - sum(shown.values())
    return {**shown, "other": shown.get("other", 0) + rest} if rest else shown
