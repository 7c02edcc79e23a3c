"""The run's optimizer, stepped slice by slice on memory that it does not own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ralo_core.errors import RaloError
from ralo_core.protocols import OptimizerFactory
from ralo_server.learner.publish.tensor_file import Spec

_PROBE = 2
"""Values of a parameter that is probed for its state. With one value a scalar and a tensor of the
parameter's size would look the same."""


class SlicedOptimizer:
    """The optimizer that `optimizer_factory` builds over parameters of `shapes`.

    It is built once, over placeholders that have the parameters' names and shapes and no memory.
    For a step on a slice the placeholder's data, gradient and state are set to that slice. The
    other parameters have no gradient, and torch's optimizers pass over those.
    """

    def __init__(
        self, optimizer_factory: OptimizerFactory, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._placeholders = {
            name: torch.nn.Parameter(torch.zeros(()).expand(shape))
            for name, shape in shapes.items()
        }
        self._optimizer: torch.optim.Optimizer = optimizer_factory.build(self._placeholders.items())
        self.state_specs = _state_specs(optimizer_factory, shapes)
        """dtype and shape of every tensor and scalar of state, under ``parameter/key``."""

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the steps to come."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate

    def step(
        self, name: str, weights: Tensor, gradient: Tensor, state: Mapping[str, Tensor]
    ) -> Mapping[str, Any]:
        """Step a slice of parameter `name` in place; return its state afterwards.

        `weights` and `gradient` are float32[n], `state` that of the slice: tensors [n], which may
        be changed in place or replaced, and 0-dimensional scalars. It is empty in the first step.
        """
        placeholder = self._placeholders[name]
        placeholder.data, placeholder.grad = weights, gradient
        self._optimizer.state[placeholder] = dict(state)
        self._optimizer.step()
        placeholder.grad = None
        after: dict[str, Any] = self._optimizer.state.pop(placeholder)
        return after


def _state_specs(
    optimizer_factory: OptimizerFactory, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Spec]:
    """Return what state the optimizer keeps, from a step on parameters of two values each."""
    probes = {
        name: torch.nn.Parameter(torch.zeros((_PROBE,) + (1,) * (len(shape) - 1)))
        for name, shape in shapes.items()
    }
    optimizer: torch.optim.Optimizer = optimizer_factory.build(probes.items())
    if optimizer.state:
        msg = "the optimizer makes its state when it is built; it must do so in its first step"
        raise RaloError(msg)
    for probe in probes.values():
        probe.grad = torch.zeros_like(probe)
    optimizer.step()
    specs: dict[str, Spec] = {}
    for name, probe in probes.items():
        for key, value in sorted(optimizer.state.get(probe, {}).items()):
            specs[f"{name}/{key}"] = _spec(key, torch.as_tensor(value), shapes[name])
    return specs


def _spec(key: str, value: Tensor, shape: tuple[int, ...]) -> Spec:
    if value.ndim and value.numel() != _PROBE:
        msg = (
            f"the optimizer keeps state '{key}' that is neither a scalar nor of the parameter's "
            "size; it must be elementwise to be stepped slice by slice"
        )
        raise RaloError(msg)
    # Scalars alone have no dimension: state of a parameter without one gets one.
    return value.dtype, (shape or (1,)) if value.ndim else ()
