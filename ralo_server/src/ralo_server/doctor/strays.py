"""Checks for files and folders that no row points at.

Neighbours: `store.inspection` and `Versions` say what is known. While an orchestrator works,
such a file may be on its way to its row, so nothing is said of it.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ralo_server.doctor.finding import Finding, Patient
from ralo_server.store import Store
from ralo_server.store.inspection import known_blobs, known_optimizers

_UNFINISHED = ".part"
_UPLOAD_SECONDS = 3600.0
"""A trainer that has sent nothing for so long does not go on with its upload."""


def strays(patient: Patient) -> Iterator[Finding]:
    """Nothing lies about that the run does not need."""
    if patient.running:
        return
    directory, store = patient.directory, patient.store
    blobs = known_blobs(store.database)
    versions = {
        store.versions.directory(kept.version.number).name for kept in store.versions.kept()
    }
    gradients = _unknown(directory.gradients, "*", blobs)
    yield from _findings(directory.root, _unknown(directory.samples, "*", blobs))
    yield from _findings(directory.root, (path for path in gradients if not _resumable(path)))
    yield from _findings(directory.root, _unknown(directory.weights, "v*", versions))
    known = known_optimizers(store.database)
    yield from _findings(directory.root, _unknown(directory.optimizer, "*", known))


def _unknown(folder: Path, pattern: str, known: set[str]) -> Iterator[Path]:
    return (path for path in sorted(folder.glob(pattern)) if path.name not in known)


def _resumable(path: Path) -> bool:
    """Say whether this may be an upload that its trainer takes up again after a restart."""
    young = time.time() - path.stat().st_mtime < _UPLOAD_SECONDS
    return path.name.endswith(_UNFINISHED) and young


def _findings(root: Path, paths: Iterable[Path]) -> Iterator[Finding]:
    for path in paths:
        yield Finding(
            f"{path.relative_to(root)} belongs to nothing",
            mend="remove it",
            action=partial(_remove, path),
        )


def _remove(path: Path, store: Store) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
