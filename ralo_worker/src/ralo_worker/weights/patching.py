"""A weights file with deltas applied, as a stream: memory is that of a few blocks.

Several deltas are applied block by block, in one walk through the file. The caller verifies the
result.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from ralo_core.deltas import Block, BlockCodec, DeltaFile
from ralo_core.errors import WireError
from ralo_core.files import dtypes
from ralo_core.files.safetensors_layout import read_places

_PATCHED = ("BF16", "F16", "F32")
"""The dtypes that weights are published in: other tensors do not change."""
_SLICE = 1 << 20


def patched(path: Path, deltas: Sequence[DeltaFile]) -> Iterator[memoryview]:
    """Yield the bytes of the weights file at `path` with `deltas` applied one after the other.

    Raises `WireError` if the file is none, or a delta does not fit its tensors.
    """
    try:
        places = sorted(read_places(path).items(), key=lambda item: item[1].start)
    except (SafetensorError, OSError) as error:
        msg = f"{path} is no base for a delta: {error}"
        raise WireError(msg) from error
    old, codec = np.memmap(path, np.uint8, mode="r"), BlockCodec()
    yield old[: places[0][1].start if places else None].data
    for name, place in places:
        tensor = old[place.start : place.stop]
        changes = [delta.blocks(name) for delta in deltas if name in delta]
        if not changes:
            yield from (tensor[at : at + _SLICE].data for at in range(0, tensor.size, _SLICE))
        elif place.dtype in _PATCHED:
            yield from _changed(name, tensor.view(dtypes.bits(place.dtype)), changes, codec)
        else:
            msg = f"a delta changes tensor '{name}' of dtype {place.dtype}"
            raise WireError(msg)


def _changed(
    name: str,
    old: npt.NDArray[np.unsignedinteger],
    changes: Sequence[Iterator[Block]],
    codec: BlockCodec,
) -> Iterator[memoryview]:
    """Yield the bytes of a tensor, block by block."""
    start = 0
    try:
        for blocks in zip(*changes, strict=True):
            stop = start + blocks[0].count
            values = old[start:stop].copy()
            for block in blocks:
                codec.apply(block, values)
            yield values.view(np.uint8).data
            start = stop
    except ValueError as error:  # from zip
        msg = f"the deltas have different numbers of blocks of tensor '{name}'"
        raise WireError(msg) from error
    if start != old.size:
        msg = f"the deltas have {start} values of tensor '{name}' instead of {old.size}"
        raise WireError(msg)
