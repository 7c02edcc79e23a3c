"""Takes optimizer steps on the working copy and writes the versions that they lead to.

Nothing that was committed is changed: no row names the working copy, and a version's folder becomes
part of the run with the commit only.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import torch

from ralo_core.data import WeightVersion
from ralo_core.errors import RaloError
from ralo_core.protocols import Aggregator, GradientCodec, OptimizerFactory
from ralo_server.gradients.parameters import Shapes
from ralo_server.learner.publish.publisher import Publisher
from ralo_server.learner.publish.tensor_file import NewTensorFile
from ralo_server.learner.state.folders import OptimizerFolders
from ralo_server.learner.state.master_state import GradientSlices, MasterState
from ralo_server.learner.step.aggregate import Aggregate
from ralo_server.learner.step.times import AGGREGATE, PUBLISH, StepTimes
from ralo_server.store.step_log import StepLog

WeightedGradients = Sequence[tuple[Path, float]]
"""(file of a gradient, its weight, above 0)."""


class NotFiniteError(RaloError):
    """The gradients of a step combine to something that is not finite."""


@attrs.frozen(kw_only=True)
class WrittenStep:
    """What a step made: its version, what it did, the norm before clipping, and the seconds of each
    of its parts."""

    version: WeightVersion
    step_log: StepLog
    norm: float
    seconds: Mapping[str, float]


@attrs.frozen(kw_only=True)
class StepFiles:
    """Takes steps with the run's aggregator and optimizer."""

    aggregator: Aggregator
    codec: GradientCodec
    optimizer_factory: OptimizerFactory
    publisher: Publisher
    folders: OptimizerFolders

    def write(
        self,
        master: MasterState,
        step: int,
        weighted_gradients: WeightedGradients,
        target: Path,
        number: int,
        parent: Path | None = None,
        rate_factor: float = 1.0,
    ) -> WrittenStep:
        """Take `step` of `master` with `weighted_gradients`; publish version `number` in the
        folder `target`.

        `parent` is the folder of the version before, None for no delta from it; `rate_factor`
        goes with the learning rate. Raises `NotFiniteError` before any weight is changed. After
        another error `master` is neither before nor after the step: it must be restored.
        """
        shapes, times = master.shapes(), StepTimes()
        with times.part(AGGREGATE):
            gradient, norm = self._measured(self._aggregate(weighted_gradients, shapes), shapes)
        if not math.isfinite(norm):
            names = ", ".join(path.name for path, _ in weighted_gradients)
            msg = f"the gradients of step {step} combine to a norm of {norm}: {names}"
            raise NotFiniteError(msg)
        step_log = StepLog(
            step=step,
            weighted_gradients=weighted_gradients,
            learning_rate=self.optimizer_factory.learning_rate(step) * rate_factor,
            clip=_clip_factor(norm, self.optimizer_factory.max_grad_norm),
        )
        with (
            master.step(gradient, step_log, self.folders.begin, times) as weights,
            times.part(PUBLISH),
        ):
            version = self.publisher.write(
                target, number, shapes, weights, master.constants, step=step, parent=parent
            )
        return WrittenStep(version=version, step_log=step_log, norm=norm, seconds=times.seconds)

    def replay(self, master: MasterState, step_log: StepLog) -> None:
        """Take a committed step again, without publishing anything."""
        gradient = self._aggregate(step_log.weighted_gradients, master.shapes()).values
        with master.step(gradient, step_log, self.folders.begin, StepTimes()) as weights:
            for _ in weights:
                pass

    def _aggregate(self, weighted_gradients: WeightedGradients, shapes: Shapes) -> Aggregate:
        return Aggregate(weighted_gradients, self.codec, self.aggregator, shapes)

    def _measured(self, aggregate: Aggregate, shapes: Shapes) -> tuple[GradientSlices, float]:
        """Return the combined gradient, as slices of it are asked for, and its norm."""
        if aggregate.count == 1:
            return aggregate.values, aggregate.norm()
        # Combining several a second time takes longer than to write the result and map it.
        file = self.folders.combined
        file.parent.mkdir(parents=True, exist_ok=True)
        new = NewTensorFile(file, {name: (torch.float32, shape) for name, shape in shapes.items()})
        norm = aggregate.norm(new.write)
        new.close()
        tensors = new.tensors()
        return lambda name, start, stop: tensors[name].view(-1)[start:stop], norm


def _clip_factor(norm: float, bound: float | None) -> float:
    # The 1e-6 is that of torch.nn.utils.clip_grad_norm_.
    return 1.0 if bound is None else min(1.0, bound / (norm + 1e-6))
