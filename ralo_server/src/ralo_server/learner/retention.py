"""What of a run's files may go: after every step, and after a process that was killed.

A folder or blob is removed only after the transaction that forgot it: a row never names a file that
is gone.
"""

import shutil

import attrs

from ralo_core.config import LearnerSettings
from ralo_core.files.atomic import UNFINISHED
from ralo_server.learner.state.folders import OptimizerFolders
from ralo_server.store import Store
from ralo_server.store.inspection import known_optimizers


@attrs.frozen
class Retention:
    """Keeps the run directory of `store` at what the run needs."""

    store: Store
    settings: LearnerSettings
    folders: OptimizerFolders

    def after_commit(self) -> None:
        """Remove what the last commit made superfluous.

        One optimizer folder stays: the next working copy overwrites its files.
        """
        versions = self.store.versions
        for number in versions.prune(self.settings.keep_last_versions, self.settings.keep_every):
            shutil.rmtree(versions.directory(number), ignore_errors=True)
        self._remove_used_up()
        self.folders.keep(known_optimizers(self.store.database))

    def at_start(self) -> None:
        """Remove what a killed process left behind."""
        self._remove_used_up()
        self.folders.clear(known_optimizers(self.store.database), working=False)
        versions = self.store.versions
        known = {versions.directory(number).name for number in versions.published()}
        for folder in self.store.directory.weights.glob("v*"):
            if folder.name not in known:
                shutil.rmtree(folder)
        for file in self.store.directory.weights.glob(f"*{UNFINISHED}"):
            file.unlink()

    def at_end(self) -> None:
        """Remove the working copy and the spare folder, too."""
        self.folders.clear(known_optimizers(self.store.database), working=True)

    def _remove_used_up(self) -> None:
        """Remove gradients that no version is restored from, and trees whose step is committed."""
        for gradient in self.store.steps.consumed_blobs():
            (self.store.directory.gradients / gradient).unlink(missing_ok=True)
        self.store.trees.delete_trained()
