"""The gradient sums that a policy's micro-batches have come to, wherever they are kept.

Neighbours: `gradient` clears them, adds to them by backward passes and divides them. It knows
neither losses nor batches.
"""

from collections.abc import Iterator

from torch import Tensor

from ralo_worker.trainer.policy import Policy


class GradientSums:
    """The sums of `policy`'s trained parameters, under the names of its model."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def items(self) -> Iterator[tuple[str, Tensor | None]]:
        """Yield the name and the sum of every trained parameter, None where no backward pass
        reached it. The tensors are the sums themselves: to divide them in place is allowed."""
        for name, parameter in self._policy.model.named_parameters():
            if parameter.requires_grad:
                yield name, parameter.grad

    def clear(self) -> None:
        """Drop all sums and their memory."""
        self._policy.zero_grad(set_to_none=True)
