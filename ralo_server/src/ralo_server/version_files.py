"""Whether the files of a weight version are those that its manifest describes.

Neighbours: ``ralo doctor`` looks at every version with it, ``ralo rollback`` at its target.
"""

import json
from pathlib import Path

from ralo_core.data import WeightVersion
from ralo_core.structuring import unstructure
from ralo_server.blobs import sha256_of

MANIFEST = "manifest.json"


def damage(folder: Path, version: WeightVersion) -> str:
    """Return what is wrong with the folder of `version`, ``""`` if nothing is.

    Every file is read once for its sha256.
    """
    if not folder.is_dir():
        return "its folder is gone"
    for file in version.files:
        path = folder / file.name
        if not path.is_file():
            return f"{file.name} is gone"
        if path.stat().st_size != file.size:
            return f"{file.name} has {path.stat().st_size} bytes instead of {file.size}"
        if sha256_of(path) != file.sha256:
            return f"{file.name} has another sha256 than its manifest says"
    return "" if _manifest_agrees(folder / MANIFEST, version) else f"{MANIFEST} is another"


def _manifest_agrees(path: Path, version: WeightVersion) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == unstructure(version))
    except (OSError, ValueError):
        return False
