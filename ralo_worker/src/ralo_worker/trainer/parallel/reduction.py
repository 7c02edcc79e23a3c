"""The gradient sums of all ranks, added up and divided: each parameter's on the rank that owns it.

Once per upload, after the last micro-batch: until then no rank waits for another. A sharded
policy's sums have been added up by FSDP; what is left is to bring the shards together.

Each sum goes to one rank and not to all (as torch's DDP would have it), because one rank sends it:
that moves half of the bytes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ralo_worker.trainer.compute.gradient_sums import GradientSums
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.parallel.rank_shards import owners


def owners_of(gradients: GradientSums, group: Group) -> dict[str, int]:
    """Return, by name, the rank that gets the gradient of each parameter and sends it."""
    sizes = {name: parameter.numel() for name, parameter in gradients.trained.items()}
    return owners(sizes, group.size)


@torch.no_grad()
def reduced(
    gradients: GradientSums, group: Group, owned_by: Mapping[str, int], weight: float
) -> dict[str, Tensor]:
    """Return the sum over ranks of `gradients`, over `weight`, of the parameters that this rank
    owns: float32 on the CPU. `gradients` is clear afterwards."""
    found = {}
    for name, value in gradients.items():
        owner = owned_by[name]
        total = _total(gradients.trained[name], value, group, owner)
        if owner == group.rank:
            found[name] = total.div_(weight).to("cpu", torch.float32)
    gradients.clear()
    return found


def _total(parameter: Tensor, value: Tensor, group: Group, owner: int) -> Tensor:
    """Return the sum over ranks on rank `owner`; what other ranks get must not be used."""
    if isinstance(parameter, DTensor):
        return _whole(parameter, value)
    group.add_up(value, owner)
    return value


def _whole(parameter: DTensor, value: Tensor) -> Tensor:
    """Return the whole of which every rank has a part in `value`, which is a plain tensor where
    the host keeps it."""
    if not isinstance(value, DTensor):
        value = DTensor.from_local(
            value.to(parameter.device),
            parameter.device_mesh,
            parameter.placements,
            shape=parameter.shape,
            stride=parameter.stride(),
        )
    return value.full_tensor()
