"""A version of a run as a directory of its own, for programs that know nothing of runs.

A run of the whole model gives the version, a LoRA run its adapter or the model with that merged in.
The run may be running: a version that is kept is never changed.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ralo_core.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, has_adapter
from ralo_core.data import WeightVersion
from ralo_core.errors import RaloError
from ralo_core.files.atomic import new_directory
from ralo_server.models.model_files import INDEX, weight_files
from ralo_server.models.version_files import damage
from ralo_server.store.versions import Versions

_ADAPTER = (ADAPTER_WEIGHTS, ADAPTER_CONFIG)


def export(versions: Versions, number: int | None, target: Path, *, merged: bool) -> WeightVersion:
    """Write version `number`, None for the newest, to the new directory `target`; return it.

    Raises `RaloError` for a version that is not kept whole, a target that is there, and where
    the adapter alone is asked for (not `merged`) of a run without one.
    """
    version = _find(versions, number)
    source = versions.directory(version.number)
    adapted = has_adapter(source)
    if not (merged or adapted):
        raise RaloError("this run trains the whole model: it has no adapter; leave out --adapter")
    if target.exists():
        msg = f"{target} exists: give a directory that is not there yet"
        raise RaloError(msg)
    try:
        with new_directory(target) as folder:
            if adapted and merged:
                _write_merged(version, source, folder)
            else:
                names = _ADAPTER if adapted else [file.name for file in version.files]
                _copy(names, source, folder)
    except OSError as error:
        msg = f"version {version.number} could not be written to {target}: {error}"
        raise RaloError(msg) from error
    return version


def _find(versions: Versions, number: int | None) -> WeightVersion:
    version = versions.newest() if number is None else versions.get(number)
    if version is None:
        kept = ", ".join(map(str, versions.published())) or "none"
        raise RaloError(f"there is no version {'' if number is None else number}; kept are {kept}")
    fault = damage(versions.directory(version.number), version)
    if fault:
        msg = f"version {version.number} is not whole: {fault}; choose another with --version"
        raise RaloError(msg)
    return version


def _write_merged(version: WeightVersion, source: Path, folder: Path) -> None:
    from ralo_server.models.merging import write_merged

    weights = weight_files(source)
    for file in weights:
        write_merged(file, source, folder / file.name)
    done = {*_ADAPTER, *(file.name for file in weights)}
    if len(weights) == 1:
        done.add(INDEX)  # one file needs none
    _copy([file.name for file in version.files if file.name not in done], source, folder)


def _copy(names: Iterable[str], source: Path, folder: Path) -> None:
    for name in names:
        shutil.copyfile(source / name, folder / name)
