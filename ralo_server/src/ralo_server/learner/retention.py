"""What of a run's files may go: after every step, and after a process that was killed.

Neighbours: `loop` calls it behind each commit and at its start; the store says what is kept. A
folder or blob goes only after the transaction that forgot it.
"""

import shutil
from pathlib import Path

import attrs

from ralo_core.config import LearnerSettings
from ralo_server.blobs import UNFINISHED
from ralo_server.store import Store
from ralo_server.store.inspection import known_optimizers


@attrs.define
class Retention:
    """Keeps the run directory of `store` at what the run needs."""

    store: Store
    settings: LearnerSettings
    _spare: Path | None = attrs.field(default=None, init=False)

    def take_spare(self) -> Path | None:
        """Return an optimizer folder that may be overwritten, once, or None.

        New files of this size cost more than a step on them: the system has to find and clear
        every page.
        """
        spare, self._spare = self._spare, None
        return spare

    def after_commit(self) -> None:
        """Remove what the last commit made superfluous, but for one optimizer folder."""
        self._remove_used_up()
        versions = self.store.versions
        for number in versions.prune(self.settings.keep_last_versions, self.settings.keep_every):
            shutil.rmtree(versions.directory(number), ignore_errors=True)
        for folder in self._unused_optimizers():
            if self._spare in (None, folder) and not folder.name.endswith(UNFINISHED):
                self._spare = folder
            else:
                shutil.rmtree(folder)

    def at_start(self) -> None:
        """Remove what a killed process left behind."""
        self._remove_used_up()
        self.drop_spare()
        versions = self.store.versions
        known = {versions.directory(number).name for number in versions.published()}
        for folder in self.store.directory.weights.glob("v*"):
            if folder.name not in known:
                shutil.rmtree(folder)
        for file in self.store.directory.weights.glob(f"*{UNFINISHED}"):
            file.unlink()

    def drop_spare(self) -> None:
        """Remove the spare optimizer folder, too."""
        self._spare = None
        for folder in self._unused_optimizers():
            shutil.rmtree(folder)

    def _remove_used_up(self) -> None:
        """Remove gradients that were consumed and trees whose step is committed."""
        for gradient in self.store.steps.consumed_blobs():
            (self.store.directory.gradients / gradient).unlink(missing_ok=True)
        self.store.trees.delete_trained()

    def _unused_optimizers(self) -> list[Path]:
        needed = known_optimizers(self.store.database)
        folders = sorted(self.store.directory.optimizer.iterdir())
        return [folder for folder in folders if folder.name not in needed]
