"""The gradient sums of all ranks, added up and divided: each parameter's on the rank that owns it.

Once per upload, after the last micro-batch: until then no rank waits for another. A sharded
policy's sums have been added up by FSDP; what is left is to bring the shards together.

Neighbours: `shares` says who owns what, `together` calls it, `uploading` sends what it returns.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ralo_worker.trainer.gradient_sums import GradientSums
from ralo_worker.trainer.group import Group
from ralo_worker.trainer.policy import Policy
from ralo_worker.trainer.shares import owners


def owners_of(policy: Policy, group: Group) -> dict[str, int]:
    """Return the rank that owns each trained parameter of `policy`, by name."""
    named = policy.model.named_parameters()
    sizes = {name: value.numel() for name, value in named if value.requires_grad}
    return owners(sizes, group.size)


@torch.no_grad()
def reduced(
    policy: Policy, group: Group, owned_by: Mapping[str, int], weight: float
) -> dict[str, Tensor]:
    """Return the sum over ranks of the policy's gradient sums, over `weight`, of the parameters
    that this rank owns: float32 on the CPU. The sums are used up."""
    parameters = dict(policy.model.named_parameters())
    sums = GradientSums(policy)
    found = {}
    for name, value in sums.items():
        owner = owned_by[name]
        total = _total(parameters[name], value, group, owner)
        if owner == group.rank:
            found[name] = total.div_(weight).to("cpu", torch.float32)
    sums.clear()
    return found


def _total(parameter: Tensor, value: Tensor | None, group: Group, owner: int) -> Tensor:
    """Return the sum over ranks, on rank `owner`; others get anything."""
    if value is None:  # no token of this rank's share reached the parameter
        value = torch.zeros_like(parameter)
    if isinstance(value, DTensor):
        return value.full_tensor()
    group.add_up(value, owner)
    return value
