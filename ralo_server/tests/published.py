"""Versions made without a learner: a file of any content, and deltas."""

import hashlib
import json
import time

from ralo_core.data import WeightDelta, WeightFile, WeightVersion
from ralo_core.structuring import unstructure


def publish(store, number, content, deltas=(), tensors=None):
    """Make version `number` of one file and some deltas."""
    folder = store.versions.directory(number)
    folder.mkdir(parents=True, exist_ok=True)
    file = put(folder, "model.safetensors", content)
    version = WeightVersion(
        number=number, parent=None, sha256=file.sha256, files=(file,), created=time.time(),
        deltas=tuple(WeightDelta(base=0, base_sha256="0", file=put(folder, f"delta-{i}", delta))
                     for i, delta in enumerate(deltas)),
    )  # fmt: skip
    manifest = unstructure(version) | ({} if tensors is None else {"tensors": tensors})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with store.database.write() as connection:
        store.versions.add(connection, version, 0)
    return version


def put(folder, name, content):
    (folder / name).write_bytes(content)
    return WeightFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
