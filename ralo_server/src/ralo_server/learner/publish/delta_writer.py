"""Compares weights that are being written with those of the version before; writes the delta.

It sees every block of a weights file on the writer's thread, in order. The parent's file must have
the same bytes at the same places, but for the weights: where it has not, there is no delta.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from ralo_core.data import WeightDelta, WeightVersion
from ralo_core.deltas import DeltaWriter
from ralo_server.learner.publish.weight_shards import Shard, size_of

log = logging.getLogger(__name__)

_TOO_LARGE = "it would hardly be smaller than the weights"

_Bytes = npt.NDArray[np.uint8]


class VersionDeltaWriter:
    """The difference from version `parent` in `folder`, given up beyond `most_bytes`; blocks wait
    in the file `spill`. Weights are of `dtype`; tensors of others must not change."""

    def __init__(
        self,
        parent: WeightVersion,
        folder: Path,
        dtype: torch.dtype,
        spill: BinaryIO,
        most_bytes: int,
    ) -> None:
        self._parent, self._folder, self._most_bytes = parent, folder, most_bytes
        self._dtype = dtype
        self._writer = DeltaWriter(spill)
        self._given_up = ""

    def of_shard(self, shard: Shard) -> Callable[[memoryview], None]:
        """Return what takes the blocks of a weights file, each within its header or a tensor."""
        regions, old = self._regions(shard), self._old_bytes(shard)
        position, name, left = 0, "", 0

        def take(block: memoryview) -> None:
            nonlocal position, name, left
            if self._given_up or not len(block):
                return
            while not left:
                name, left = next(regions)
            before = old[position : position + len(block)]
            position, left = position + len(block), left - len(block)
            self._compare(name, before, np.frombuffer(block, np.uint8))

        return take

    def write(self, folder: Path, sha256: str) -> tuple[WeightDelta, ...]:
        """Write the delta to the version with `sha256` into its `folder`, if there is one."""
        parent = self._parent
        if not self._given_up:
            path = folder / f"from-{parent.number:06d}.delta"
            file = self._writer.write(path, parent.number, parent.sha256, sha256)
            if file.size <= self._most_bytes:
                return (WeightDelta(base=parent.number, base_sha256=parent.sha256, file=file),)
            path.unlink()  # its header is what is too large
            self._given_up = _TOO_LARGE
        log.info("no delta from version %d: %s", parent.number, self._given_up)
        return ()

    def _compare(self, name: str, old: _Bytes, new: _Bytes) -> None:
        if not name:
            if not np.array_equal(old, new):
                self._given_up = "more than weights changed"
            return
        bits = f"u{self._dtype.itemsize}"
        self._writer.add(name, old.view(bits), new.view(bits))
        if self._writer.size > self._most_bytes:
            self._given_up = _TOO_LARGE

    def _old_bytes(self, shard: Shard) -> _Bytes:
        """Return the parent's file of the same name, mapped."""
        path = self._folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.layout.size:
            self._given_up = f"it has no {shard.name} of the same size"
            return np.empty(0, np.uint8)
        return np.memmap(path, np.uint8, mode="r")

    def _regions(self, shard: Shard) -> Iterator[tuple[str, int]]:
        """Yield name and bytes of what follows in the file, ``""`` for all that is no weight."""
        yield "", len(shard.layout.header)
        for name, spec in shard.tensors.items():
            yield name if spec[0] == self._dtype else "", size_of(spec)
