"""Reads a ``.wandb`` file: LevelDB's log format around wandb's own protocol buffers.

wandb's Python package has no reader of its own files any more;
its records are parsed with the classes that it ships.
"""

import json
import struct

from wandb.proto import wandb_internal_pb2

_BLOCK = 1 << 15
_HEADER = struct.Struct("<IHB")  # checksum, length, kind of the part: full, first, middle, last
_FULL, _LAST = 1, 4


def records(path):
    """Yield the records of the file at `path` that are whole."""
    data, record = path.read_bytes(), b""
    assert data[:4] == b":W&B"
    place = _HEADER.size  # the file's own header is as long as that of a part
    while place + _HEADER.size <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER.size:
            place += left
            continue
        _, length, kind = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        record += data[place : place + length]
        place += length
        if kind in (_FULL, _LAST):
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def history(folder):
    """Return the rows of all runs below `folder`, in the order in which they were started."""
    rows = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                named = {item.key or "/".join(item.nested_key): item.value_json for item in items}
                rows.append({name: json.loads(text) for name, text in named.items()})
    return rows


def of_kind(folder, kind):
    """Return the records of one kind, in the same order."""
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        found += [getattr(r, kind) for r in records(path) if r.WhichOneof("record_type") == kind]
    return found
