"""Gradient codecs without state: `none` sends float32, `bf16` half of its bytes.

The trainer encodes whole tensors, the learner decodes slices of them. numpy has no bfloat16, so its
bits travel as uint16: the upper half of a float32, rounded to nearest, ties to even.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ralo_core.components import BuildContext

Float32 = npt.NDArray[np.float32]
_QUIET_NAN = np.uint16(0x7FC0)


class Float32Codec:
    """The values as they are."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        """Take no options."""

    def encode(self, name: str, value: Float32) -> dict[str, npt.NDArray[Any]]:
        """Return float32[n] under ``""``."""
        return {"": np.ascontiguousarray(value, np.float32).ravel()}

    def size(self, parts: Mapping[str, npt.NDArray[Any]]) -> int:
        """Return n; raises `ValueError` for values of another type."""
        return _size_of(parts[""], np.float32)

    def decode(
        self, name: str, parts: Mapping[str, npt.NDArray[Any]], start: int, stop: int
    ) -> Float32:
        """Return float32[stop - start]."""
        return np.asarray(parts[""][start:stop], np.float32)


class Bfloat16Codec:
    """Values rounded to bfloat16: relative error at most 2**-8, same range as float32."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        """Take no options."""

    def encode(self, name: str, value: Float32) -> dict[str, npt.NDArray[Any]]:
        """Return the bfloat16 bits, uint16[n], under ``""``."""
        return {"": to_bfloat16(value)}

    def size(self, parts: Mapping[str, npt.NDArray[Any]]) -> int:
        """Return n; raises `ValueError` for values of another type."""
        return _size_of(parts[""], np.uint16)

    def decode(
        self, name: str, parts: Mapping[str, npt.NDArray[Any]], start: int, stop: int
    ) -> Float32:
        """Return float32[stop - start]."""
        return from_bfloat16(parts[""][start:stop])


def _size_of(values: npt.NDArray[Any], kind: type) -> int:
    if values.dtype != kind:
        msg = f"expected {np.dtype(kind)}, got {values.dtype}"
        raise ValueError(msg)
    return int(values.size)


def to_bfloat16(value: Float32) -> npt.NDArray[np.uint16]:
    """Return the bits of `value` rounded to nearest even, uint16[n]; a NaN stays one."""
    flat = np.ascontiguousarray(value, np.float32).ravel()
    bits = flat.view(np.uint32)
    upper = bits >> np.uint32(16)
    # Half a unit in the last place, less one where the kept part is even: the carry rounds.
    rounded = (bits + (np.uint32(0x7FFF) + (upper & np.uint32(1)))) >> np.uint32(16)
    return np.where(np.isnan(flat), _QUIET_NAN, rounded.astype(np.uint16))


def from_bfloat16(bits: npt.NDArray[np.uint16]) -> Float32:
    """Return the float32 values that bfloat16 `bits` stand for, exactly."""
    return (np.asarray(bits, np.uint16).ravel().astype(np.uint32) << np.uint32(16)).view(np.float32)
