"""The ranks of a trainer: the processes that compute one gradient together, over torch.distributed.

Rank 0 leads: it alone leases batches, declares gradients and leaves the run for the group. Messages
between the ranks go through a `Channel`, gradients through `Group`: NCCL on GPUs, gloo elsewhere.

torch pickles the objects on a channel. That is safe here: the ranks are one program on machines of
one owner, and of what came over the network only numbers and text are among them.
"""

import os
from datetime import timedelta
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ralo_core import RaloError

T = TypeVar("T")

_TIMEOUT = timedelta(days=7)
"""Ranks wait for rank 0, and rank 0 waits for work as long as there is none. A rank that died needs
no timeout: its connections close at once."""


@attrs.frozen(eq=False)
class Channel:
    """Messages between the ranks. All ranks must make the same calls in the same order, so each of
    them uses a channel from one thread only."""

    rank: int = 0
    size: int = 1
    _handle: Any = None

    def share(self, value: T) -> T:
        """Return rank 0's `value`, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._handle)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return the `value` of every rank, on every rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._handle)
        return found

    def send(self, data: memoryview, target: int) -> None:
        """Send bytes to rank `target`, which calls `receive`."""
        dist.send(torch.from_numpy(np.frombuffer(data, np.uint8).copy()), target, self._handle)

    def receive(self, count: int, source: int) -> memoryview:
        """Return the `count` bytes that rank `source` sends."""
        into = torch.empty(count, dtype=torch.uint8)
        dist.recv(into, source, self._handle)
        return into.numpy().data


@attrs.frozen(kw_only=True, eq=False)
class Group:
    """The ranks; by default this process alone.

    `control` is for the main thread, `uploads` for the one that sends gradients meanwhile.
    """

    rank: int = 0
    size: int = 1
    control: Channel = attrs.field(factory=Channel)
    uploads: Channel = attrs.field(factory=Channel)

    @property
    def leads(self) -> bool:
        """Whether this rank speaks for the group."""
        return self.rank == 0

    def add_up(self, values: Tensor, target: int) -> None:
        """Replace `values` on rank `target` by the sum over all ranks. On the other ranks `values`
        is scratch memory afterwards."""
        if self.size > 1:
            dist.reduce(values, dst=target)

    def add_up_everywhere(self, values: Tensor) -> None:
        """Replace `values` by the sum over all ranks, on every rank."""
        if self.size > 1:
            dist.all_reduce(values)

    def close(self) -> None:
        """Destroy the process group; the other ranks see their connections to this one close."""
        if self.size > 1:
            dist.destroy_process_group()


def open_group() -> Group:
    """Join the group that torchrun's environment describes; without one this process is alone.

    On a machine with GPUs each rank takes the one of its local rank. Raises `RaloError` where there
    are fewer GPUs than ranks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        _take_gpu(local)
    if size == 1:
        return Group()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    rank = dist.get_rank()
    control, uploads = (
        Channel(rank, size, dist.new_group(backend="gloo", timeout=_TIMEOUT)) for _ in range(2)
    )
    return Group(rank=rank, size=size, control=control, uploads=uploads)


def _take_gpu(local: int) -> None:
    if local >= torch.cuda.device_count():
        msg = (
            f"local rank {local} has no GPU, this machine has {torch.cuda.device_count()}: start "
            "at most one rank per GPU"
        )
        raise RaloError(msg)
    torch.cuda.set_device(local)
