"""Checks for files and folders that no row points at.

While an orchestrator works, such a file may be about to get its row, so nothing is said of it.
``ralo serve`` removes those of the queues at its start; the learner does so with weights and
optimizer state, and with the working copy that a killed learner leaves, which is never needed
again.
"""

import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ralo_server.doctor.finding import Finding, RunUnderTest
from ralo_server.store import Store
from ralo_server.store.views.inspection import known_blobs
from ralo_server.store.weights.versions import known_optimizers


def orphans(patient: RunUnderTest) -> Iterator[Finding]:
    """Every file and folder belongs to something that the run knows."""
    if patient.running:
        return
    directory, store = patient.directory, patient.store
    versions = {store.versions.directory(n).name for n in store.versions.published()}
    yield from _findings(directory.root, _unqueued(store))
    yield from _findings(directory.root, _unknown(directory.weights, "v*", versions))
    known = {*known_optimizers(store.database), directory.working.name}
    yield from _findings(directory.root, _unknown(directory.optimizer, "*", known))


def remove_unqueued(store: Store) -> None:
    """Remove trees, gradients and evaluation files that were cut off on their way to their row,
    of a run in which no process works."""
    for path in _unqueued(store):
        path.unlink()


def _unqueued(store: Store) -> Iterator[Path]:
    blobs = known_blobs(store.database)
    yield from _unknown(store.directory.samples, "*", blobs)
    yield from _unknown(store.directory.gradients, "*", blobs)
    directory = store.directory
    known_files = {directory.evaluation_file(*known) for known in store.evaluations.reported()}
    files = sorted(directory.evaluations.glob("v*/*"))
    yield from (path for path in files if path not in known_files)


def _unknown(folder: Path, pattern: str, known: set[str]) -> Iterator[Path]:
    return (path for path in sorted(folder.glob(pattern)) if path.name not in known)


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
