"""A block: what changed in a slice of a tensor, in the smallest of a few encodings.

Where few values changed, a block has the gaps between them (`gaps`) and either their new values
or the steps to them (`ulps`); where most did, the steps of all. Numbers lie in byte planes, all
lowest bytes first: the higher planes of steps are zeros, which zstd compresses to almost nothing.
XOR with zstd is not among the encodings: on weights it takes twice the bytes
(benchmarks/weight_deltas.py).
"""

import enum
import struct
from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt
import zstandard

from ralo_core.deltas.gaps import from_gaps, to_gaps
from ralo_core.deltas.ulps import Bits, steps_between, take_steps
from ralo_core.errors import WireError

_HEAD = struct.Struct("<BIII")  # encoding, values, bytes of positions, bytes of numbers
# Gaps and steps repeat by chance only: short matches cost more than the literals they replace.
_PARAMETERS = zstandard.ZstdCompressionParameters.from_level(1, min_match=7)


class Encoding(enum.IntEnum):
    """What the numbers of a block are."""

    UNCHANGED = 0
    STEPS = 1
    VALUES = 2
    ALL_STEPS = 3
    ALL_VALUES = 4


@attrs.frozen(kw_only=True)
class Block:
    """`count` values encoded as `encoding`; `positions` (gaps) and `numbers` are compressed, but
    for the plain bytes of `ALL_VALUES`."""

    encoding: Encoding
    count: int
    positions: bytes | memoryview = b""
    numbers: bytes | memoryview = b""

    @property
    def size(self) -> int:
        """The bytes of the block in a file."""
        return _HEAD.size + len(self.positions) + len(self.numbers)

    def parts(self) -> tuple[bytes | memoryview, ...]:
        """Return what is to be written of it, in order."""
        sizes = len(self.positions), len(self.numbers)
        return _HEAD.pack(self.encoding, self.count, *sizes), self.positions, self.numbers


def read_blocks(payload: memoryview) -> Iterator[Block]:
    """Yield the blocks that lie one behind the other in `payload`, as views of it.

    Raises `WireError` where it is cut off or names an unknown encoding.
    """
    offset = 0
    while offset < len(payload):
        try:
            encoding, count, *sizes = _HEAD.unpack_from(payload, offset)
            kind = Encoding(encoding)
        except (struct.error, ValueError) as error:
            msg = f"no block of a delta at byte {offset}: {error}"
            raise WireError(msg) from error
        middle = offset + _HEAD.size + sizes[0]
        end = middle + sizes[1]
        if end > len(payload):
            msg = f"the block at byte {offset} of a delta is cut off"
            raise WireError(msg)
        yield Block(
            encoding=kind,
            count=count,
            positions=payload[offset + _HEAD.size : middle],
            numbers=payload[middle:end],
        )
        offset = end


class BlockCodec:
    """Makes and applies blocks. Not thread-safe: it keeps its compressor's memory."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(self, old: Bits, new: Bits) -> tuple[Block, int]:
        """Return the block that turns `old` into `new` (uint16[n] or uint32[n], n < 2**32), and
        how many values differ."""
        positions = np.flatnonzero(old != new)
        if not positions.size:
            return Block(encoding=Encoding.UNCHANGED, count=old.size), 0
        # Where most change, gaps say next to nothing and gathering costs the most.
        few = 2 * positions.size < old.size
        block = self._few(old, new, positions) if few else self._many(old, new)
        if len(block.positions) + len(block.numbers) >= new.nbytes:
            plain = np.ascontiguousarray(new).view(np.uint8).data
            block = Block(encoding=Encoding.ALL_VALUES, count=old.size, numbers=plain)
        return block, int(positions.size)

    def apply(self, block: Block, values: Bits) -> None:
        """Turn `values`, the old ones, into the new ones in place.

        Raises `WireError` for a block that is damaged or of other values than so many of this
        width.
        """
        if block.count != values.size:
            msg = f"a block of {block.count} values of a delta meets {values.size}"
            raise WireError(msg)
        if block.encoding is Encoding.UNCHANGED:
            return
        if block.encoding is Encoding.ALL_VALUES:
            values[:] = _typed(block.numbers, values)
        elif block.encoding is Encoding.ALL_STEPS:
            values[:] = take_steps(values, self._numbers(block, values.size, values.dtype))
        else:
            self._apply_few(block, values)

    def _few(self, old: Bits, new: Bits, positions: npt.NDArray[np.int64]) -> Block:
        before, after = old[positions], new[positions]
        steps = self._compress(_planes(steps_between(before, after)))
        values = self._compress(_planes(after))
        small = len(steps) <= len(values)
        return Block(
            encoding=Encoding.STEPS if small else Encoding.VALUES,
            count=old.size,
            positions=self._compress(to_gaps(positions)),
            numbers=steps if small else values,
        )

    def _many(self, old: Bits, new: Bits) -> Block:
        numbers = self._compress(_planes(steps_between(old, new)))
        return Block(encoding=Encoding.ALL_STEPS, count=old.size, numbers=numbers)

    def _apply_few(self, block: Block, values: Bits) -> None:
        longest = values.size + values.size // 255 + 1
        positions = from_gaps(np.frombuffer(self._decompress(block.positions, longest), np.uint8))
        if positions.size and int(positions[-1]) >= values.size:
            msg = f"a block of a delta changes value {positions[-1]} of {values.size}"
            raise WireError(msg)
        numbers = self._numbers(block, positions.size, values.dtype)
        if block.encoding is Encoding.STEPS:
            numbers = take_steps(values[positions], numbers)
        values[positions] = numbers

    def _numbers(self, block: Block, count: int, dtype: "np.dtype[np.unsignedinteger]") -> Bits:
        """Return the numbers of a block, [count]."""
        size = count * dtype.itemsize
        data = self._decompress(block.numbers, size)
        if len(data) != size:
            msg = f"a block of a delta has {len(data)} bytes of numbers instead of {size}"
            raise WireError(msg)
        planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, count)
        return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)

    def _compress(self, data: npt.NDArray[np.uint8]) -> bytes:
        return self._compressor.compress(data.data)

    def _decompress(self, data: bytes | memoryview, most: int) -> bytes:
        """Return what `data` was made of; raises `WireError` if that is more than `most` bytes."""
        try:
            size = zstandard.get_frame_parameters(data).content_size
            if size > most:
                msg = f"a block of a delta unpacks to {size} bytes, it may to {most}"
                raise WireError(msg)
            return self._decompressor.decompress(data)
        except zstandard.ZstdError as error:
            msg = f"a block of a delta is damaged: {error}"
            raise WireError(msg) from error


def _planes(numbers: Bits) -> npt.NDArray[np.uint8]:
    """Return the bytes of `numbers`, uint8[n * width]: all lowest ones, then the next, ..."""
    table = np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, numbers.dtype.itemsize)
    return np.ascontiguousarray(table.T).reshape(-1)


def _typed(data: bytes | memoryview, values: Bits) -> Bits:
    if len(data) != values.nbytes:
        msg = f"a block of a delta has {len(data)} bytes of values instead of {values.nbytes}"
        raise WireError(msg)
    return np.frombuffer(data, values.dtype)
