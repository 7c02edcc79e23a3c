"""The fp32 master weights and optimizer state a run is at, and the step to the next.

A step reads the files of the last committed one and fills new ones, slice by slice: memory does
not grow with the model, and nothing that is committed is ever changed.

Neighbours: `state_files` has the files, `aggregate` puts the gradient there, `sliced_optimizer`
takes the step, `publishing` writes what `advance` yields.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_core.errors import RaloError
from ralo_core.protocols import OptimizerPolicy
from ralo_server.learner.sliced_optimizer import SlicedOptimizer
from ralo_server.learner.state_files import Draft, StateFiles, open_model, open_state

SLICE_VALUES = 1 << 19
"""Values of one slice: weights, gradient and moments of it stay in the processor's cache."""


@attrs.frozen
class Slice:
    """Values ``start:stop`` of the flattened parameter `name`."""

    name: str
    start: int
    stop: int

    def of(self, tensors: Mapping[str, Tensor], key: str = "") -> Tensor:
        """Return the slice of one of `tensors`, [stop - start]."""
        return tensors[self.name + key].view(-1)[self.start : self.stop]


class Master:
    """Weights and optimizer state in `files`, walked in slices of `slice_values`.

    Raises `RaloError` if the state is not that of the optimizer which `policy` builds.
    """

    def __init__(
        self, files: StateFiles, policy: OptimizerPolicy, slice_values: int = SLICE_VALUES
    ) -> None:
        self._files, self._policy, self._slice_values = files, policy, slice_values
        self._optimizer = SlicedOptimizer(policy, self.shapes())
        self._keys: dict[str, list[str]] = {name: [] for name in files.weights}
        for path in self._optimizer.state_specs:
            name, _, key = path.rpartition("/")
            self._keys[name].append(key)
        if files.state and files.state.keys() != self._optimizer.state_specs.keys():
            raise RaloError(self._mismatch())

    @classmethod
    def of_model(cls, directory: Path, policy: OptimizerPolicy) -> "Master":
        """Return the master weights of a Hugging Face model directory."""
        return cls(open_model(directory), policy)

    @classmethod
    def restore(cls, directory: Path, policy: OptimizerPolicy) -> "Master":
        """Return those of the folder of a committed step."""
        return cls(open_state(directory), policy)

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """The tensors of the model that are not trained."""
        return self._files.constants

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every trained parameter, sorted by name."""
        return {name: tuple(value.shape) for name, value in self._files.weights.items()}

    def weights(self) -> Iterator[Tensor]:
        """Yield the weights, parameter after parameter, in slices."""
        for piece in self._slices():
            yield piece.of(self._files.weights)

    def draft(self, directory: Path) -> Draft:
        """Begin the files of the next step in `directory`."""
        return Draft(directory, self._files, self._optimizer.state_specs)

    def advance(self, draft: Draft, step: int, norm: float) -> Iterator[Tensor]:
        """Take optimizer step `step` with the gradient that waits in `draft`, of L2 norm `norm`.

        Yields the new weights slice by slice, float32[n], in the order of `weights`; a slice is
        overwritten when the next is asked for.
        """
        self._optimizer.set_learning_rate(self._policy.learning_rate(step))
        factor, scratch = self._clip_factor(norm), _Scratch(self._slice_values)
        for piece in self._slices():
            gradient = scratch.copy("gradient", piece.of(draft.files.weights), torch.float32)
            gradient.mul_(factor)
            weights = scratch.copy("weights", piece.of(self._files.weights), torch.float32)
            before = self._state_before(piece, scratch)
            after = self._optimizer.step(piece.name, weights, gradient, before)
            draft.write_weights(piece.name, piece.start, weights)
            for key in self._keys[piece.name]:
                value = torch.as_tensor(after[key])
                draft.write_state(piece.name, key, piece.start if value.ndim else 0, value)
            yield weights

    def after(self, draft: Draft) -> "Master":
        """Return the master of a draft that was filled; the optimizer goes on."""
        master = copy.copy(self)
        master._files = draft.files
        return master

    def _state_before(self, piece: Slice, scratch: "_Scratch") -> dict[str, Tensor]:
        """Return the state of a slice as the optimizer may change it; empty in the first step."""
        if not self._files.state:
            return {}
        before = {}
        for key in self._keys[piece.name]:
            old = self._files.state[f"{piece.name}/{key}"]
            if old.ndim:
                part = piece.of(self._files.state, f"/{key}")
                before[key] = scratch.copy(f"/{key}", part, old.dtype)
            else:
                before[key] = old.clone()
        return before

    def _clip_factor(self, norm: float) -> float:
        bound = self._policy.max_grad_norm
        # The 1e-6 is that of torch.nn.utils.clip_grad_norm_.
        return 1.0 if bound is None else min(1.0, bound / (norm + 1e-6))

    def _slices(self) -> Iterator[Slice]:
        for name, shape in self.shapes().items():
            size = math.prod(shape)
            for start in range(0, size, self._slice_values):
                yield Slice(name, start, min(start + self._slice_values, size))

    def _mismatch(self) -> str:
        there, wanted = (
            ", ".join(sorted({path.rpartition("/")[2] for path in paths})) or "nothing"
            for paths in (self._files.state, self._optimizer.state_specs)
        )
        return (
            f"the optimizer state of this run is of another optimizer or model: it keeps {there}, "
            f"optimizer.use asks for {wanted}; go on with the optimizer that the run began with"
        )


class _Scratch:
    """Buffers of one slice each, by name: a step of a slice stays in the processor's cache."""

    def __init__(self, slice_values: int) -> None:
        self._slice_values = slice_values
        self._buffers: dict[str, Tensor] = {}

    def copy(self, name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return `values` [n] in buffer `name`, as `dtype`."""
        if name not in self._buffers:
            self._buffers[name] = torch.empty(self._slice_values, dtype=dtype)
        return self._buffers[name][: len(values)].copy_(values)
