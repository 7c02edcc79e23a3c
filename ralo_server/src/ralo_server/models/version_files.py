"""The files of a weight version: its manifest, and whether they are those that it describes.

``manifest.json`` holds the fields of `WeightVersion` and, under ``tensors``, what each weights
file says of its tensors: dtype, shape, and the name of that file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ralo_core.data import WeightVersion
from ralo_core.errors import ConfigError
from ralo_core.files.digests import sha256_of
from ralo_core.files.safetensors_layout import read_places
from ralo_core.structuring import structure, unstructure

MANIFEST = "manifest.json"
_WEIGHTS = ".safetensors"
_TENSORS = "tensors"


def write_manifest(folder: Path, version: WeightVersion) -> None:
    """Write the manifest of `version`, whose files lie in `folder`."""
    manifest = {**unstructure(version), _TENSORS: _tensors(folder, version)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_manifest(folder: Path) -> WeightVersion:
    """Return the version whose manifest lies in `folder`; raises `OSError`, `ValueError` or
    `ConfigError` if there is none."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return structure({key: manifest[key] for key in manifest if key != _TENSORS}, WeightVersion)


def damage(folder: Path, version: WeightVersion) -> str:
    """Return what is wrong with the folder of `version`, ``""`` if nothing is.

    Every file is read once for its sha256.
    """
    if not folder.is_dir():
        return "its folder is gone"
    for file in (*version.files, *(delta.file for delta in version.deltas)):
        path = folder / file.name
        if not path.is_file():
            return f"{file.name} is gone"
        if path.stat().st_size != file.size:
            return f"{file.name} has {path.stat().st_size} bytes instead of {file.size}"
        if sha256_of(path) != file.sha256:
            return f"{file.name} has another sha256 than its manifest says"
    return "" if _manifest_agrees(folder, version) else f"{MANIFEST} is not that of this version"


def _manifest_agrees(folder: Path, version: WeightVersion) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        # Manifests of earlier releases had no tensors.
        tensors = manifest.get(_TENSORS) or _tensors(folder, version)
        return read_manifest(folder) == version and bool(tensors == _tensors(folder, version))
    except (OSError, ValueError, AttributeError, ConfigError, SafetensorError):
        return False


def _tensors(folder: Path, version: WeightVersion) -> Mapping[str, Any]:
    return {
        name: {"dtype": place.dtype, "shape": list(place.shape), "file": file.name}
        for file in version.files
        if file.name.endswith(_WEIGHTS)
        for name, place in read_places(folder / file.name).items()
    }
