"""The folder ``optimizer/``: checkpoints, the working copy, and a spare folder.

A checkpoint is never changed. The working copy is stepped in place: no row names it, it is not
synced, and after a start it is overwritten as a whole. It becomes a checkpoint by being set aside,
synced and renamed.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

import attrs

from ralo_core.files.atomic import UNFINISHED, sync


@attrs.define
class OptimizerFolders:
    """The folders in `root`, of which `working` has the working copy."""

    root: Path
    working: Path
    _spare: Path | None = attrs.field(default=None, init=False)
    _set_aside: Path | None = attrs.field(default=None, init=False)

    @property
    def combined(self) -> Path:
        """The file for the combined gradient of the step that is being taken."""
        return self.working / "combined.safetensors"

    def begin(self) -> Path:
        """Return the folder of a new working copy: one with files to be written over, or empty.

        New files of this size cost more than a step on them: the system has to find and clear
        every page. So a killed learner's working copy is taken, or the spare folder.
        """
        folder, spare = self.working / "state", self._spare
        self.working.mkdir(parents=True, exist_ok=True)
        if spare is not None and not folder.exists():
            spare.rename(folder)
            self._spare = None
        folder.mkdir(exist_ok=True)
        return folder

    def working_size(self) -> int:
        """Return the bytes of the working copy."""
        return sum(file.stat().st_size for file in (self.working / "state").iterdir())

    def set_aside(self, name: str) -> Path:
        """Take the working copy away to become checkpoint `name`, and return its folder."""
        self._set_aside = self.root / f"{name}{UNFINISHED}"
        (self.working / "state").rename(self._set_aside)
        return self._set_aside

    def complete(self, folder: Path) -> str:
        """Sync what was set aside and give it its name, which is returned."""
        for file in (*folder.iterdir(), folder):
            sync(file)
        whole = folder.rename(folder.with_name(folder.name.removesuffix(UNFINISHED)))
        sync(self.root)
        return whole.name

    def keep(self, needed: Collection[str]) -> None:
        """Remove all checkpoints but those `needed`, one to be written over, and what was set
        aside last."""
        for folder in self._unneeded(needed):
            # It may be a checkpoint that is still being synced, or one that no row names yet.
            if self._set_aside and folder.name.startswith(self._set_aside.stem):
                continue
            if self._spare in (None, folder) and not folder.name.endswith(UNFINISHED):
                self._spare = folder
            else:
                shutil.rmtree(folder)

    def clear(self, needed: Collection[str], working: bool) -> None:
        """Remove everything but the `needed` checkpoints; with `working` the working copy, too."""
        self._spare = self._set_aside = None
        for folder in self._unneeded(needed):
            shutil.rmtree(folder)
        if working and self.working.exists():
            shutil.rmtree(self.working)

    def _unneeded(self, needed: Collection[str]) -> list[Path]:
        stay = {*needed, self.working.name}
        return [folder for folder in sorted(self.root.iterdir()) if folder.name not in stay]
