"""`Batch`: what a trainer leases, whole rollout trees under one lease.

Advantages are not in it: the trainer estimates them over the batch, because whitening needs the
whole batch.
"""

import attrs

from ralo_core.data.tree import RolloutTree


@attrs.frozen(kw_only=True)
class Batch:
    """Trees that are trained on together; `id` names the lease that a gradient must quote."""

    id: str
    trees: tuple[RolloutTree, ...]
    expires: float = 0.0
    """Unix time in seconds at which the lease ends unless it is renewed."""
