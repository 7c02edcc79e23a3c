"""The state that a start continues from: the checkpoint, and the committed steps after it.

A step is taken again from the gradients in the step log, with the weights, the learning rate and
the clipping factor that were recorded; aggregator and optimizer factory are not asked again. The
result must be the newest version, bit for bit. On another processor, or with another torch or
number of threads, the last bits may differ, and after a change of the optimizer's options more than
those. Such a state is as good as the one before, but it is not what workers hold: it is published
as a version of its own. Where a gradient is damaged no state can be restored, and the start fails.
"""

import logging
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_core.data import WeightVersion
from ralo_core.errors import RaloError
from ralo_server.learner.publish.tensor_file import open_tensors
from ralo_server.learner.state.master_state import MasterState
from ralo_server.learner.step.step_files import StepFiles
from ralo_server.store import Store

log = logging.getLogger(__name__)


@attrs.frozen
class Recovery:
    """Restores the state of the run in `store`."""

    store: Store
    files: StepFiles

    def restore(self, model: Path) -> MasterState:
        """Return the state of the newest version; before the first, that of the folder `model`,
        which may be an adapter's.

        Raises `RaloError` if the checkpoint or a gradient that is needed is gone.
        """
        origin, factory = self.store.versions.newest_origin(), self.files.optimizer_factory
        if origin.checkpoint:
            folder = self.store.directory.optimizer / origin.checkpoint
            master = MasterState.restore(folder, factory)
        else:
            master = MasterState.of_model(model, factory)
        for step in origin.replay:
            log.info("step %d is taken again, from its gradients", step)
            self.files.replay(master, self.store.redo.read(step))
        return master

    def publish_if_different(self, master: MasterState) -> WeightVersion | None:
        """Publish what was restored if it is not the newest version; return that version.

        Raises `RaloError` if a gradient that it was restored with is damaged.
        """
        versions = self.store.versions
        newest, origin = versions.newest(), versions.newest_origin()
        if newest is None or not origin.replay:
            return None
        count = self._differing(master, newest)
        if not count:
            return None
        damage = self.store.redo.damage(origin.replay)
        if damage:
            msg = f"{damage}: {_REMEDY}"
            raise RaloError(msg)
        number = newest.number + 1
        log.warning(
            _DIFFERENT, list(origin.replay), origin.checkpoint, newest.number, count, number
        )
        version = self.files.publisher.write(
            versions.directory(number),
            number,
            master.shapes(),
            master.weights(),
            master.constants,
            step=newest.step,
            parent=versions.directory(newest.number),
        )
        self.store.steps.commit_restored(version)
        return version

    def _differing(self, master: MasterState, version: WeightVersion) -> int:
        """Return how many published weights `master` would publish otherwise, bit by bit."""
        folder, published = self.store.versions.directory(version.number), dict[str, Tensor]()
        for file in version.files:
            if file.name.endswith(".safetensors"):
                published.update(open_tensors(folder / file.name))
        dtype = self.files.publisher.dtype
        return sum(
            int((_bits(weights.to(dtype)) != _bits(piece.of(published))).sum())
            for piece, weights in master.slices()
        )


def _bits(values: Tensor) -> Tensor:
    return values.view(torch.int16 if values.dtype.itemsize == 2 else torch.int32)


_REMEDY = "put it back from a copy, or go back to an older version with ralo rollback"
_DIFFERENT = (
    "steps %s, taken again from checkpoint '%s', do not give version %d but differ in %d weights: "
    "this is another processor, torch or number of threads than the steps were taken with first, "
    "or the optimizer's options were changed. The run continues from what was restored, which is "
    "published as version %d"
)
