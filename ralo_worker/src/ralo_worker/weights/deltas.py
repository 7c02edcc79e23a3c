"""A weight version made of one that lies on this machine and of what changed since.

A delta is small, exact, and right for one base only: the result is written beside, hashed on the
way, and thrown away unless it has the sha256 of the version. Then, and where there is no delta,
the whole files are fetched.
"""

import logging
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import attrs

from ralo_core.data import DeltaLink, WeightFile, WeightVersion
from ralo_core.deltas import DeltaFile
from ralo_core.errors import RaloError, WireError
from ralo_core.files.digests import sha256_of
from ralo_core.files.hashed_file import write_hashed
from ralo_worker.weights.patching import patched

log = logging.getLogger(__name__)

Ask = Callable[[int, int], Sequence[DeltaLink]]
"""``(from, to)`` -> the deltas that lead from one version to the other, none if there are none."""
Fetch = Callable[[WeightFile, Path], int]
"""``(file, path)``: bring a file to `path`, verified; return the bytes that came for it."""
Present = Mapping[Path, WeightVersion]
"""The versions that lie whole on this machine, by their folder."""


@attrs.frozen
class Plan:
    """Apply `links` one after the other to the version in `base`, where `held` lie verified;
    without links it is the one that is wanted, under another number."""

    base: Path
    links: Sequence[DeltaLink]
    held: Collection[WeightFile] = ()


def plan(version: WeightVersion, present: Present, ask: Ask) -> Plan | None:
    """Return the shortest way to `version` from one that is `present`; None: fetch all of it."""
    folders = {held.sha256: folder for folder, held in present.items()}
    if version.sha256 in folders:
        return Plan(folders[version.sha256], ())
    for delta in version.deltas:
        if delta.base_sha256 in folders:
            link = DeltaLink(version=version.number, delta=delta)
            base = folders[delta.base_sha256]
            return Plan(base, (link,), present[base].files)
    older = [held for held in present.values() if held.number < version.number]
    if not older or not version.deltas:
        return None
    nearest = max(older, key=lambda held: held.number)
    links = ask(nearest.number, version.number)
    fits = links and nearest.sha256 == links[0].delta.base_sha256
    return Plan(folders[nearest.sha256], links, nearest.files) if fits else None


def make_from_present(
    version: WeightVersion, folder: Path, present: Present, ask: Ask, fetch: Fetch
) -> int | None:
    """Make the files of `version` in `folder` of one that is `present`; return the bytes that were
    fetched for it, None if that is not to be had and the folder is empty."""
    try:
        way = plan(version, present, ask)
        if way is not None:
            return apply(version, folder, way, fetch)
    except (RaloError, OSError) as error:
        log.warning("version %d is fetched whole: %s", version.number, error)
        shutil.rmtree(folder)
        folder.mkdir()
    return None


def apply(version: WeightVersion, folder: Path, way: Plan, fetch: Fetch) -> int:
    """Make the files of `version` in `folder` by `way`; return the bytes that were fetched.

    Raises `WireError` if deltas or base are not what they should be, and what `fetch` raises.
    """
    if not way.links:
        for file in version.files:
            os.link(way.base / file.name, folder / file.name)
        return 0
    fetched, paths = 0, [folder / link.delta.file.name for link in way.links]
    for link, path in zip(way.links, paths, strict=True):
        fetched += fetch(link.delta.file, path)
    deltas = [DeltaFile(path) for path in paths]
    _check_ends(deltas, way.links, version)
    for file in version.files:
        if file in way.held:
            os.link(way.base / file.name, folder / file.name)
        else:
            fetched += _make(file, folder, way.base, deltas, fetch)
    for path in paths:
        path.unlink()
    return fetched


def _check_ends(
    deltas: Sequence[DeltaFile], links: Sequence[DeltaLink], version: WeightVersion
) -> None:
    """See that each delta begins where the one before it ends."""
    begins = [delta.header.base_sha256 for delta in deltas]
    expected = [links[0].delta.base_sha256, *(delta.header.sha256 for delta in deltas)]
    if [*begins, version.sha256] != expected:
        names = ", ".join(link.delta.file.name for link in links)
        msg = f"the deltas {names} do not lead to version {version.number}"
        raise WireError(msg)


def _make(
    file: WeightFile, folder: Path, base: Path, deltas: Sequence[DeltaFile], fetch: Fetch
) -> int:
    old, new = base / file.name, folder / file.name
    if not file.name.endswith(".safetensors"):
        if old.is_file() and sha256_of(old) == file.sha256:
            os.link(old, new)
            return 0
        return fetch(file, new)
    if write_hashed(new, patched(old, deltas)) != file.sha256:
        msg = f"{file.name} of {base.name} with the deltas has not the sha256 that is wanted"
        raise WireError(msg)
    return 0
