"""A policy sharded over the ranks of a group (FSDP2), for models that do not fit one of them.

Every rank keeps its part of each parameter and gradient; a layer is gathered for the time of its
forward and backward pass, and its gradient added up over the ranks at once, in float32. So all
ranks must run the same number of passes (`stop_check`).
"""

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from ralo_core import RaloError
from ralo_worker.trainer.compute.checkpointing import decoder_layers
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.group import Group


def shard(policy: Policy, group: Group) -> Policy:
    """Return `policy`, whose model lies on the CPU, sharded over the devices of `group`.

    Raises `RaloError` for a group of one rank.
    """
    if group.size == 1:
        msg = "trainer.sharding = 'full' needs several ranks: ralo train --nproc N"
        raise RaloError(msg)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(kind, (group.size,))
    for layer in decoder_layers(policy.model):
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh, reshard_after_forward=True)
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            # The sum over the batch is wanted, and gloo knows no factors.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return policy
