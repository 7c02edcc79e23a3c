"""Makes a checkpoint of the optimizer state every few steps, while the next steps are taken.

The working copy is set aside as it is and synced by a second thread; the next step reads it and
writes a new one, which takes as long as a step in place. Once the checkpoint is on the disk, one
transaction makes it the origin of the newest version. If the process is killed before, the old
checkpoint and the step log are what they were. Only the next checkpoint and the end of the run wait
for a checkpoint.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import attrs

from ralo_core.config import LearnerSettings
from ralo_server.learner.state.folders import OptimizerFolders
from ralo_server.learner.state.master_state import MasterState
from ralo_server.store import Store
from ralo_server.store.versions import Origin

log = logging.getLogger(__name__)

_LOG_SHARE = 4
"""The logged gradients may have so many times the bytes of a checkpoint. Where a step has many
gradients, keeping them would cost more than writing the state more often."""


@attrs.define
class Checkpoints:
    """Checkpoints of the run in `store`, made as `settings` say."""

    store: Store
    settings: LearnerSettings
    folders: OptimizerFolders
    _thread: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1), init=False)
    _under_way: tuple[int, Origin, Future[str]] | None = attrs.field(default=None, init=False)

    def make_if_due(self, master: MasterState) -> None:
        """Begin a checkpoint of `master`, the state of the newest version, if it is time."""
        begun = len(self._under_way[1].replay) if self._under_way else 0
        steps = self.store.versions.newest_origin().replay[begun:]
        if steps and (
            len(steps) >= self.settings.checkpoint_every
            or self._is_kept_for_good()
            or self.store.redo.size(steps) > _LOG_SHARE * self.folders.working_size()
        ):
            self.make(master)

    def _is_kept_for_good(self) -> bool:
        """Say whether the newest version is never pruned.

        It gets a checkpoint: restored from an older one, it would keep the gradients since then
        for good, too.
        """
        every = self.settings.keep_every
        return bool(every) and self.store.versions.newest_number() % every == 0

    def make(self, master: MasterState) -> None:
        """Begin a checkpoint of `master`, unless the newest version is at one already."""
        self.settle()
        origin, number = self.store.versions.newest_origin(), self.store.versions.newest_number()
        if not origin.replay:
            return
        # In this order: once the folder is set aside no step may write into it.
        folder = self.folders.set_aside(f"v{number:06d}")
        master.release_files()
        self._under_way = number, origin, self._thread.submit(self.folders.complete, folder)

    def ready(self) -> bool:
        """Say whether a checkpoint waits to be settled."""
        return self._under_way is not None and self._under_way[2].done()

    def settle(self) -> None:
        """Wait for the checkpoint that is being made, if any, and commit it."""
        if self._under_way is None:
            return
        number, origin, written = self._under_way
        name = written.result()
        self._under_way = None
        self.store.versions.rebase(number, origin, name)
        log.info("checkpoint %s is on the disk, after %d steps", name, len(origin.replay))
