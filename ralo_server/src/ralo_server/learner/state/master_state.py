"""The float32 master weights and optimizer state of a run, and the step from one to the next.

The first step reads a checkpoint, which is never changed, and fills the working copy; those after
it read the working copy and write it back in its place. All of them go slice by slice, so memory
does not grow with the model. Slices are read through maps and written with a call: a write through
a map faults on every page that the system has brought to the disk since the step before.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_core.errors import RaloError
from ralo_core.protocols import OptimizerFactory
from ralo_server.gradients.slices import slices
from ralo_server.learner.state.sliced_optimizer import SlicedOptimizer
from ralo_server.learner.state.state_files import StateFiles, WorkingCopy, open_model, open_state
from ralo_server.learner.step.times import AGGREGATE, CLIP, STEP, StepTimes
from ralo_server.store.step_log import StepLog

STEP_SLICE_VALUES = 1 << 19
"""Values of one slice: weights, gradient and moments of it stay in the processor's cache. Gradients
are decoded and validated in longer slices: there nothing else has to be in the cache."""

GradientSlices = Callable[[str, int, int], Tensor]
"""(parameter, start, stop) -> that slice of the gradient, float32[stop - start]."""


@attrs.frozen
class Slice:
    """Values ``start:stop`` of the flattened parameter `name`."""

    name: str
    start: int
    stop: int

    def of(self, tensors: Mapping[str, Tensor], key: str = "") -> Tensor:
        """Return the slice of one of `tensors`, [stop - start]."""
        return tensors[self.name + key].view(-1)[self.start : self.stop]


class MasterState:
    """Weights and optimizer state in `files`, walked in slices of `slice_values`.

    Raises `RaloError` if the state is not that of the optimizer which `optimizer_factory` builds.
    """

    def __init__(
        self,
        files: StateFiles,
        optimizer_factory: OptimizerFactory,
        slice_values: int = STEP_SLICE_VALUES,
    ) -> None:
        self._files, self._slice_values = files, slice_values
        self._working_copy: WorkingCopy | None = None
        self._optimizer = SlicedOptimizer(optimizer_factory, self.shapes())
        self._keys: dict[str, list[str]] = {name: [] for name in files.weights}
        for path in self._optimizer.state_specs:
            name, _, key = path.rpartition("/")
            self._keys[name].append(key)
        if files.state and files.state.keys() != self._optimizer.state_specs.keys():
            raise RaloError(self._mismatch())

    @classmethod
    def of_model(cls, directory: Path, optimizer_factory: OptimizerFactory) -> "MasterState":
        """Return the master weights of the directory of a Hugging Face model, or of an adapter."""
        return cls(open_model(directory), optimizer_factory)

    @classmethod
    def restore(cls, directory: Path, optimizer_factory: OptimizerFactory) -> "MasterState":
        """Return the state in the folder of a checkpoint."""
        return cls(open_state(directory), optimizer_factory)

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """The tensors of the model that are not trained."""
        return self._files.constants

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every trained parameter, sorted by name."""
        return {name: tuple(value.shape) for name, value in self._files.weights.items()}

    def weights(self) -> Iterator[Tensor]:
        """Yield the weights, parameter after parameter, in slices."""
        for _, values in self.slices():
            yield values

    def slices(self) -> Iterator[tuple[Slice, Tensor]]:
        """Yield every slice with the weights of it."""
        for piece in self._slices():
            yield piece, piece.of(self._files.weights)

    @contextmanager
    def step(
        self,
        gradient: GradientSlices,
        step_log: StepLog,
        begin: Callable[[], Path],
        times: StepTimes,
    ) -> Iterator[Iterator[Tensor]]:
        """Take the step that `step_log` describes with `gradient`, which is not yet clipped.

        The step happens while the block walks the new weights, and it must walk all of them:
        slices, float32[n], in the order of `weights`; a slice may be overwritten when the next is
        asked for. `begin` gives the folder of a new working copy, where there is none. The seconds
        are added to `times`.
        """
        self._optimizer.set_learning_rate(step_log.learning_rate)
        scratch = _Scratch(self._slice_values)
        if self._working_copy is None:
            self._working_copy = WorkingCopy(begin(), self._files, self._optimizer.state_specs)
        yield self._step_into(self._working_copy, gradient, step_log.clip, scratch, times)
        self._files = self._working_copy.files

    def release_files(self) -> None:
        """Never write to the present files again; the next step begins a new working copy.

        The files stay open for reading: the next step starts from them. For a checkpoint, which
        takes the present working copy as it is.
        """
        if self._working_copy is not None:
            self._working_copy.close()
        self._working_copy = None

    def _step_into(
        self,
        working_copy: WorkingCopy,
        gradient: GradientSlices,
        clip: float,
        scratch: "_Scratch",
        times: StepTimes,
    ) -> Iterator[Tensor]:
        for piece in self._slices():
            with times.part(AGGREGATE):
                values = gradient(piece.name, piece.start, piece.stop)
            with times.part(CLIP):
                clipped = scratch.product("gradient", values, clip)
            with times.part(STEP):
                weights = self._step_slice(working_copy, piece, clipped, scratch)
            yield weights

    def _step_slice(
        self, working_copy: WorkingCopy, piece: Slice, gradient: Tensor, scratch: "_Scratch"
    ) -> Tensor:
        """Step one slice with its clipped `gradient`, float32[n]; return the new weights."""
        weights = scratch.copy("weights", piece.of(self._files.weights), torch.float32)
        before = self._state_before(piece, scratch)
        after = self._optimizer.step(piece.name, weights, gradient, before)
        working_copy.write_weights(piece.name, piece.start, weights)
        for key in self._keys[piece.name]:
            self._write_state(working_copy, piece, key, torch.as_tensor(after[key]))
        return weights

    def _write_state(
        self, working_copy: WorkingCopy, piece: Slice, key: str, value: Tensor
    ) -> None:
        """Write state of a slice; a scalar with the last one, for all slices begin with the old."""
        if value.ndim:
            working_copy.write_state(piece.name, key, piece.start, value)
        elif piece.stop == self._files.weights[piece.name].numel():
            working_copy.write_state(piece.name, key, 0, value)

    def _state_before(self, piece: Slice, scratch: "_Scratch") -> dict[str, Tensor]:
        """Return a copy of a slice's state for the optimizer to change; empty before any step."""
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

    def _slices(self) -> Iterator[Slice]:
        for name, shape in self.shapes().items():
            for start, stop in slices(math.prod(shape), self._slice_values):
                yield Slice(name, start, stop)

    def _mismatch(self) -> str:
        there, wanted = (
            ", ".join(sorted({path.rpartition("/")[2] for path in paths})) or "nothing"
            for paths in (self._files.state, self._optimizer.state_specs)
        )
        return (
            f"the optimizer state of this run is of another optimizer or model: it keeps {there}, "
            f"optimizer.use needs {wanted}; set optimizer.use to the optimizer the run began with"
        )


class _Scratch:
    """Buffers of one slice each, by name: a step of a slice stays in the processor's cache."""

    def __init__(self, slice_values: int) -> None:
        self._slice_values = slice_values
        self._buffers: dict[str, Tensor] = {}

    def copy(self, name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return `values` [n] in buffer `name`, as `dtype`."""
        return self._buffer(name, len(values), dtype).copy_(values)

    def product(self, name: str, values: Tensor, factor: float) -> Tensor:
        """Return float32 `values` [n] times `factor` in buffer `name`."""
        return torch.mul(values, factor, out=self._buffer(name, len(values), torch.float32))

    def _buffer(self, name: str, count: int, dtype: torch.dtype) -> Tensor:
        if name not in self._buffers:
            self._buffers[name] = torch.empty(self._slice_values, dtype=dtype)
        return self._buffers[name][:count]
