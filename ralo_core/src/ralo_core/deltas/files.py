"""A delta file: a safetensors file with the blocks of every tensor that changed, as bytes.

The header says between which versions it lies and how each tensor changed.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import attrs
import numpy as np
from safetensors import SafetensorError

from ralo_core import wire
from ralo_core.data import WeightFile
from ralo_core.deltas.blocks import Block, BlockCodec, Encoding, read_blocks
from ralo_core.deltas.ulps import Bits
from ralo_core.errors import WireError
from ralo_core.files.hashed_file import write_hashed
from ralo_core.files.safetensors_layout import Place, read_places
from ralo_core.structuring import structure, unstructure


@attrs.frozen(kw_only=True)
class TensorChange:
    """`changed` values of a tensor differ; `encodings` are those of its blocks, by name."""

    changed: int
    encodings: tuple[str, ...]


@attrs.frozen(kw_only=True)
class DeltaHeader:
    """The delta leads from version `base`, whose sha256 is `base_sha256`, to the version with
    `sha256`; a tensor that is not in `tensors` did not change."""

    base: int
    base_sha256: str
    sha256: str
    tensors: Mapping[str, TensorChange]


@attrs.define
class _Blocks:
    """Bytes ``start:stop`` of the spill file have the blocks of a tensor."""

    start: int
    stop: int
    changed: int = 0
    encodings: set[Encoding] = attrs.field(factory=set)


class DeltaWriter:
    """Makes a delta file slice by slice; the blocks wait in the file `spill`, for the header of a
    delta is known last."""

    def __init__(self, spill: BinaryIO) -> None:
        self._spill, self._codec = spill, BlockCodec()
        self._tensors: dict[str, _Blocks] = {}
        self.size = 0
        """Bytes of the blocks so far."""

    def add(self, name: str, old: Bits, new: Bits) -> None:
        """Take the next slice of tensor `name`, as bit patterns: uint16[n] or uint32[n].

        The slices of a tensor come in order and no other tensor between them.
        """
        block, changed = self._codec.encode(old, new)
        for part in block.parts():
            self._spill.write(part)
        tensor = self._tensors.setdefault(name, _Blocks(self.size, self.size))
        self.size += block.size
        tensor.stop = self.size
        tensor.changed += changed
        tensor.encodings.add(block.encoding)

    def write(self, path: Path, base: int, base_sha256: str, sha256: str) -> WeightFile:
        """Write the delta from version `base` to the version with `sha256` to `path`."""
        changed = {name: blocks for name, blocks in self._tensors.items() if blocks.changed}
        header = DeltaHeader(
            base=base,
            base_sha256=base_sha256,
            sha256=sha256,
            tensors={
                name: TensorChange(
                    changed=blocks.changed,
                    encodings=tuple(kind.name.lower() for kind in sorted(blocks.encodings)),
                )
                for name, blocks in changed.items()
            },
        )
        spilled = self._spilled() if changed else np.empty(0, np.uint8)
        tensors = {name: spilled[blocks.start : blocks.stop] for name, blocks in changed.items()}
        body = wire.view(unstructure(header), tensors)
        digest = write_hashed(path, body)
        return WeightFile(name=path.name, size=len(body), sha256=digest)

    def _spilled(self) -> "np.memmap[tuple[int], np.dtype[np.uint8]]":
        self._spill.flush()
        return np.memmap(self._spill, np.uint8, mode="r")


class DeltaFile:
    """The delta file at `path`, mapped.

    Raises `WireError` for a file that is none or is cut off.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._places: Mapping[str, Place] = read_places(path)
        except SafetensorError as error:
            msg = f"{path} is not a whole safetensors file: {error}"
            raise WireError(msg) from error
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.header = structure(wire.read_header(self._map), DeltaHeader)

    def __contains__(self, name: str) -> bool:
        """Say whether tensor `name` changed."""
        return name in self._places

    def blocks(self, name: str) -> Iterator[Block]:
        """Yield the blocks of a tensor that changed, as views of the map, in order."""
        place = self._places[name]
        return read_blocks(memoryview(self._map)[place.start : place.stop])
