"""The versions that lie whole in a folder of this machine, and what they consist of.

A version is added by renaming a finished folder, so what is here under its name is whole.
"""

import json
import os
import shutil
import time
from pathlib import Path

import attrs

from ralo_core.data import WeightVersion
from ralo_core.files.atomic import UNFINISHED
from ralo_core.structuring import structure, unstructure

_MANIFEST = "manifest.json"
_KEPT = 2
_MINIMUM_AGE_SECONDS = 60.0


@attrs.frozen
class LocalVersions:
    """Verified versions below `folder`, each in one of its own."""

    folder: Path

    def directory(self, version: WeightVersion) -> Path:
        """Return where a version lies, or will."""
        return self.folder / f"v{version.number:06d}-{version.sha256[:12]}"

    def versions(self) -> dict[Path, WeightVersion]:
        """Return the versions that are there, by their folder, oldest first."""
        found = {}
        for manifest in sorted(self.folder.glob(f"v*/{_MANIFEST}")):
            # A folder that is still being made has another name.
            if manifest.parent.suffix != UNFINISHED:
                document = json.loads(manifest.read_text(encoding="utf-8"))
                found[manifest.parent] = structure(document, WeightVersion)
        return found

    def files(self) -> dict[str, Path]:
        """Return the path of every file that is there, by its sha256."""
        return {
            file.sha256: directory / file.name
            for directory, version in self.versions().items()
            for file in version.files
        }

    def describe(self, version: WeightVersion, folder: Path) -> None:
        """Write down in `folder` what its files are, for the processes that find it."""
        (folder / _MANIFEST).write_text(json.dumps(unstructure(version), indent=1))

    def claim(self, folder: Path) -> bool:
        """Say whether a version is there; one that somebody is about to open counts as young."""
        try:
            os.utime(folder)
        except FileNotFoundError:
            return False
        return True

    def prune(self, newest: Path) -> None:
        """Remove versions that nobody on this machine can still be opening."""
        folders = sorted(path for path in self.folder.glob("v*") if path.is_dir())
        for folder in folders[:-_KEPT]:
            age = time.time() - folder.stat().st_mtime
            if folder != newest and age > _MINIMUM_AGE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
