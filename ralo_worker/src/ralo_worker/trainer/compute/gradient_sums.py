"""The sums of a policy's gradients over its backward passes, wherever they are kept.

Either in the parameters' own `.grad` or in the memory of the host: then every gradient is moved
there as soon as the backward pass has it, while the pass goes on, and a GPU never holds more than a
few of them.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ralo_worker.adapters import published_name
from ralo_worker.trainer.compute.policy import Policy

_MOVING_BYTES = 1 << 28
"""What the GPU may hold of gradients that are on their way: 256 MiB, or one parameter's."""


class GradientSums:
    """The sums of `policy`'s trained parameters, under the names that they are published by, tied
    ones once; `trained` are these parameters.

    Sharding gives a policy other parameters, so this is made after it.
    """

    def __init__(self, policy: Policy) -> None:
        self.trained = {
            published_name(name): parameter
            for name, parameter in policy.model.named_parameters()
            if parameter.requires_grad
        }

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the float32 sum of every trained parameter, 0 where no backward pass
        reached it.

        The tensors are the sums themselves: they may be divided in place, and whoever keeps them
        beyond `clear` owns them. A sharded parameter's are this rank's part.
        """
        for name, parameter in self.trained.items():
            yield name, torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

    def clear(self) -> None:
        """Drop all sums."""
        for parameter in self.trained.values():
            parameter.grad = None


@attrs.frozen(kw_only=True)
class _Moving:
    """A gradient that must stay until its copy is `done`."""

    gradient: Tensor
    done: Any


class OffloadedSums(GradientSums):
    """The sums in the host's memory, pinned where the policy is on a GPU, as plain tensors.

    Its hooks stay in the policy's backward pass, so it is made once per policy.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._pinned = policy.device.type == "cuda"
        self._device: Any = torch.get_device_module(policy.device)
        self._stream = self._device.Stream()
        self._totals: dict[torch.nn.Parameter, Tensor] = {}
        self._reached: set[torch.nn.Parameter] = set()
        self._moving: deque[_Moving] = deque()
        for parameter in self.trained.values():
            parameter.register_post_accumulate_grad_hook(self._move)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """As `GradientSums.items`; a sharded parameter's are plain tensors, too."""
        self._wait(0)
        for name, parameter in self.trained.items():
            if parameter in self._reached:
                yield name, self._totals[parameter]
            else:
                yield name, torch.zeros_like(_local(parameter), device="cpu")

    def clear(self) -> None:
        """Drop all sums."""
        self._wait(0)
        super().clear()
        self._totals, self._reached = {}, set()

    def _move(self, parameter: Any) -> None:
        """Add the gradient of `parameter` to its total on a stream of its own, and free it.

        What is there already is added on the device, which is faster than the host.
        """
        gradient, parameter.grad = _local(parameter.grad), None
        total = self._total(parameter)
        self._stream.wait_stream(self._device.current_stream())
        with self._device.stream(self._stream):
            if parameter in self._reached:
                gradient += total.to(gradient.device, non_blocking=True)
            total.copy_(gradient, non_blocking=True)
            done = self._device.Event()
            done.record(self._stream)
        self._reached.add(parameter)
        self._moving.append(_Moving(gradient=gradient, done=done))
        self._wait(_MOVING_BYTES)

    def _wait(self, most: int) -> None:
        """Return when no more than `most` bytes are on their way."""
        while self._moving and sum(each.gradient.nbytes for each in self._moving) > most:
            self._moving.popleft().done.synchronize()

    def _total(self, parameter: torch.nn.Parameter) -> Tensor:
        if not self._totals:
            self._totals = self._room()
        return self._totals[parameter]

    def _room(self) -> dict[torch.nn.Parameter, Tensor]:
        """Return memory for every total, cut from one piece: pinned memory is allocated in powers
        of two, so many pieces would waste up to half of it."""
        parts = {parameter: _local(parameter) for parameter in self.trained.values()}
        sizes = [part.numel() for part in parts.values()]
        room = torch.empty(sum(sizes), dtype=torch.float32, pin_memory=self._pinned).split(sizes)
        return {
            parameter: total.view(part.shape)
            for (parameter, part), total in zip(parts.items(), room, strict=True)
        }


def gradient_sums(policy: Policy, offloaded: bool) -> GradientSums:
    """Return what reads the sums of `policy`, in the host's memory where they are `offloaded`."""
    return OffloadedSums(policy) if offloaded else GradientSums(policy)


def _local(tensor: Any) -> Tensor:
    """Return this rank's part of a tensor that may be sharded."""
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part
