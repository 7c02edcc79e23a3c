"""Goes back to a version that is kept, together with its optimizer state.

The caller holds the run's lock. The files of the new version are hard links, for nobody changes a
file of a version once it has its name. Checkpoint and logged gradients are not linked but shared:
they stay as long as any kept version is restored from them, and the learner may write over a folder
that none needs, so no link may lead into it. The next start restores the state.

Killed before the commit, this leaves a folder that no row names; killed after it, blobs that no row
names. Both are removed at the next start or with ``ralo doctor --fix``.
"""

import os
import time
from collections.abc import Sequence

import attrs

from ralo_core.data import WeightVersion
from ralo_core.errors import RaloError
from ralo_core.files.atomic import new_directory
from ralo_server.models.version_files import damage, write_manifest
from ralo_server.store import Store
from ralo_server.store.rollbacks import Discarded
from ralo_server.store.versions import KeptVersion


def roll_back(store: Store, target: int) -> tuple[WeightVersion, Discarded]:
    """Make the content of version `target` the newest version; return it and what was discarded.

    Raises `RaloError` for a version that is not kept whole, naming those that are.
    """
    old = _find(store, target)
    newest = store.versions.newest_number()
    if target == newest:
        msg = f"version {target} is the newest one: there is nothing to go back from"
        raise RaloError(msg)
    number = newest + 1
    # No deltas: those of the old version start at versions that were abandoned or are gone.
    version = attrs.evolve(
        old.version, number=number, parent=target, created=time.time(), deltas=()
    )
    _link_version(store, target, version)
    benchmarks = list(store.benchmarks.plans())
    discarded = store.rollbacks.commit(version, target, old.origin, benchmarks)
    for blob in (*discarded.gradients, *discarded.trees):
        blob.unlink(missing_ok=True)
    return version, discarded


def _find(store: Store, target: int) -> KeptVersion:
    kept = {entry.version.number: entry for entry in store.versions.kept()}
    if target not in kept:
        msg = f"version {target} is not kept; kept are {_listed(list(kept))}"
        raise RaloError(msg)
    old = kept[target]
    fault = damage(store.versions.directory(target), old.version) or lacks_state(store, old)
    if fault:
        others = [number for number in kept if number != target]
        msg = f"version {target} is not whole: {fault}; others that are kept: {_listed(others)}"
        raise RaloError(msg)
    return old


def lacks_state(store: Store, kept: KeptVersion) -> str:
    """Return why the optimizer state of a version cannot be restored, ``""`` if it can."""
    checkpoint, replay = kept.origin.checkpoint, kept.origin.replay
    if checkpoint and not (store.directory.optimizer / checkpoint).is_dir():
        return f"its optimizer state {checkpoint} is gone"
    if checkpoint or replay:
        return store.redo.lost(replay)
    # Without a checkpoint the learner starts from the model that version 0 was made of.
    first = store.versions.get(0)
    same = first is not None and first.sha256 == kept.version.sha256
    return "" if same else "its optimizer state was not kept"


def _link_version(store: Store, target: int, version: WeightVersion) -> None:
    source = store.versions.directory(target)
    with new_directory(store.versions.directory(version.number)) as folder:
        for file in version.files:
            os.link(source / file.name, folder / file.name)
        write_manifest(folder, version)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
