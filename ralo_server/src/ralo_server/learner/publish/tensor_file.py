"""safetensors files: mapped to be read, or made at their final size and filled slice by slice.

What is written is written with a call, not through the map: a page fault, on every page of a map
that is new or that the system has brought to the disk meanwhile, costs twice as much as its copy.
"""

import errno
import json
import math
import mmap
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError
from torch import Tensor

from ralo_core.errors import RaloError
from ralo_core.files import dtypes
from ralo_core.files.safetensors_layout import Place, read_places

Spec = tuple[torch.dtype, tuple[int, ...]]
"""dtype and shape of a tensor."""

_DTYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, word) for name, word in dtypes.WORDS.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 64


@attrs.frozen
class FileLayout:
    """The header of a file, size prefix included, where each tensor starts, and the size of the
    whole, in bytes."""

    header: bytes
    starts: Mapping[str, int]
    size: int


def layout_of(tensors: Mapping[str, Spec], metadata: Mapping[str, str] | None = None) -> FileLayout:
    """Return the layout of a file with `tensors`, one behind the other in their order."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + dtype.itemsize * math.prod(shape)
        offsets = [start, end]
        entries[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    header = len(text).to_bytes(8, "little") + text
    starts = {
        name: len(header) + entry["data_offsets"][0]
        for name, entry in entries.items()
        if name in tensors
    }
    return FileLayout(header=header, starts=starts, size=len(header) + end)


class NewTensorFile:
    """The file at `path` with `tensors`, whose values are undefined until they are written.

    A file of the same layout that is there already is overwritten in place, which costs no new
    pages. Raises `RaloError` if the disk has no room.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Spec]) -> None:
        self._path, self._specs, self._layout = path, tensors, layout_of(tensors)
        if not _fits(path, self._layout):
            path.unlink(missing_ok=True)
            _allocate(path, self._layout)
        self._file = path.open("r+b", buffering=0)

    def write(self, name: str, start: int, values: Tensor) -> None:
        """Write `values` to tensor `name`, flattened, from its value `start` on."""
        dtype = self._specs[name][0]
        left = bytes_of(values.to(dtype))
        offset = self._layout.starts[name] + start * dtype.itemsize
        while left:
            written = os.pwrite(self._file.fileno(), left, offset)
            left, offset = left[written:], offset + written

    def tensors(self) -> dict[str, Tensor]:
        """Return maps of the tensors, which show what is written and must not be written to."""
        return open_tensors(self._path)

    def close(self) -> None:
        """Close the file; maps of it stay."""
        self._file.close()


def open_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file as maps that must not be written to.

    Raises `RaloError` for a file that is cut off or no safetensors file.
    """
    try:
        places = read_places(path)
    except (SafetensorError, OSError) as error:
        msg = f"{path} is not a whole safetensors file ({error})"
        raise RaloError(msg) from error
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {name: _view(mapping, place, path) for name, place in places.items()}


def _fits(path: Path, layout: FileLayout) -> bool:
    """Say whether the file may be overwritten: of the same layout and under no other name."""
    if not path.exists():
        return False
    status = path.stat()
    if status.st_nlink > 1 or status.st_size != layout.size:
        return False
    with path.open("rb") as file:
        return file.read(len(layout.header)) == layout.header


def _allocate(path: Path, layout: FileLayout) -> None:
    with path.open("xb") as file:
        try:
            file.write(layout.header)
            file.truncate(layout.size)
            # A full disk shows here, before the step is half done.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, layout.size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            msg = (
                f"the disk has no room for {path} ({layout.size:,} bytes); make room, or keep "
                "fewer versions (learner.keep_last_versions)"
            )
            raise RaloError(msg) from error


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a contiguous tensor, not copied."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _view(mapping: mmap.mmap, place: Place, path: Path) -> Tensor:
    if place.dtype not in _DTYPES:
        msg = f"{path} has a tensor of dtype {place.dtype}; convert the model to bfloat16"
        raise RaloError(msg)
    dtype, count = _DTYPES[place.dtype], math.prod(place.shape)
    if not count:
        return torch.empty(place.shape, dtype=dtype)
    with warnings.catch_warnings():
        # torch warns that a read-only buffer must not be written to: nobody does.
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        flat = torch.frombuffer(mapping, dtype=dtype, count=count, offset=place.start)
    return flat.view(place.shape)
