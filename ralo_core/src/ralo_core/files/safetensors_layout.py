"""Where the tensors of a safetensors file lie: read from its header, for code that maps files."""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs
from safetensors import safe_open


@attrs.frozen
class Place:
    """A tensor: name of its dtype in the format (``F32``), shape, bytes ``start:stop`` of the
    file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_places(path: Path) -> Mapping[str, Place]:
    """Return the place of every tensor in the file at `path`.

    Raises `SafetensorError` for a file that is cut off or no safetensors file, and `OSError` if
    it cannot be read.
    """
    with safe_open(path, framework="np") as file:  # checks that header and size agree
        file.keys()
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    begin = 8 + size
    return {
        name: Place(
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            start=begin + entry["data_offsets"][0],
            stop=begin + entry["data_offsets"][1],
        )
        for name, entry in header.items()
    }
