"""Checks of weight versions and of the optimizer state that the run goes on from.

Neighbours: `version_files` reads the files, `ralo_server.rollback` is the way out of a damage
that cannot be mended in place.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ralo_server.doctor.finding import Finding, RunUnderTest
from ralo_server.gradients.checks import inspect
from ralo_server.gradients.parameters import parameter_shapes
from ralo_server.models.version_files import damage
from ralo_server.rollback import lacks_state
from ralo_server.store import Store
from ralo_server.store.repair import forget_version


def versions_are_whole(patient: RunUnderTest) -> Iterator[Finding]:
    """Every version that is kept has the files of its manifest, with their sha256."""
    versions = patient.store.versions
    newest = versions.newest_number()
    for kept in versions.kept():
        number = kept.version.number
        fault = damage(versions.directory(number), kept.version)
        if not fault:
            continue
        # Workers take the newest; the first one tells runs of one name apart.
        dispensable = number not in (0, newest)
        yield Finding(
            f"version {number}: {fault}" + ("" if dispensable else _way_out(number)),
            mend="count it as pruned" if dispensable else "",
            action=partial(_forget_version, number) if dispensable else None,
        )


def versions_can_be_gone_back_to(patient: RunUnderTest) -> Iterator[Finding]:
    """The optimizer state of every version that is kept can be restored."""
    for kept in patient.store.versions.kept():
        fault = lacks_state(patient.store, kept)
        if fault:
            what = f"version {kept.version.number} cannot be gone back to: {fault}"
            yield Finding(what, fault=False)


def newest_state_is_whole(patient: RunUnderTest) -> Iterator[Finding]:
    """The checkpoint that a start goes on from can be opened, and the steps after it be taken
    again."""
    origin = patient.store.versions.newest_origin()
    if origin.checkpoint:
        yield from _checkpoint_is_whole(patient, origin.checkpoint)
    for path in patient.store.redo.paths(origin.replay):
        fault = "the file is gone"
        if path.is_file():
            fault = inspect(path, parameter_shapes(patient.directory), patient.codec).detail
        if fault:
            yield Finding(
                f"gradient {path.name}, with which a start takes a committed step again: {fault}; "
                "put it back from a copy, or go back to a kept version with ralo rollback"
            )


def _checkpoint_is_whole(patient: RunUnderTest, name: str) -> Iterator[Finding]:
    folder = patient.directory.optimizer / name
    files = sorted(folder.rglob("*.safetensors"))
    faults = [fault for fault in map(_unreadable, files) if fault]
    if not files:
        faults = ["it is gone" if not folder.is_dir() else "it is empty"]
    for fault in faults:
        way_out = "go back to a kept version with ralo rollback"
        yield Finding(f"optimizer state {name}, from which a start goes on: {fault}; {way_out}")


def _unreadable(path: Path) -> str:
    try:
        with safe_open(path, framework="np") as file:  # header and size agree
            file.keys()
    except (SafetensorError, OSError) as error:
        return f"{path.name}: {error}"
    return ""


def _way_out(number: int) -> str:
    if number == 0:
        return "; put the folder back from a copy: workers tell runs apart by version 0"
    return "; go back to a kept version with ralo rollback"


def _forget_version(number: int, store: Store) -> None:
    forget_version(store.database, number)
