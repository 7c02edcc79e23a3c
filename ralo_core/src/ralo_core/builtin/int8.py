"""The gradient codec `int8`: a quarter of the bytes, and the rounding error is not lost.

Values are rounded in blocks of 256
to 255 levels of the block's largest. What rounding took from a gradient is added to the next one
(error feedback), so over many steps the mean of what is sent is the mean of what was computed.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core.components import BuildContext
from ralo_core.options.setting import setting

Float32 = npt.NDArray[np.float32]

BLOCK = 256
_LEVELS = np.float32(127.0)
_SLICE = 1 << 20
_SCALE = ":scale"


@attrs.frozen(kw_only=True)
class Int8Settings:
    """``[codec.int8]``: what happens to the rounding error."""

    feedback: bool = setting(
        True, "add it to the next gradient; costs the trainer one float32 copy of the model"
    )


class Int8Codec:
    """Blockwise 8-bit integers; a value is off by at most 1/254 of its block's largest.

    The residuals live in this object, which the trainer keeps for its whole life. They follow
    what was encoded, not what was accepted: when an upload is refused or comes too late, its
    gradient is lost as with any codec, together with the residual that was added to it (at most
    half a level per value), and the next gradient carries the rounding error of the lost one.
    A trainer that restarts begins without residuals.
    """

    def __init__(self, settings: Int8Settings, context: BuildContext) -> None:
        self._feedback = settings.feedback
        self._residuals: dict[str, Float32] = {}

    def encode(self, name: str, value: Float32) -> dict[str, npt.NDArray[Any]]:
        """Return int8[n] under ``""`` and float32[ceil(n / 256)] under ``":scale"``.

        A block with a value that is not finite decodes to values that are not finite.
        """
        flat = np.ascontiguousarray(value, np.float32).ravel()
        levels = np.empty(flat.size, np.int8)
        scales = np.empty(_blocks(flat.size), np.float32)
        left = self._residual(name, flat.size)
        for start in range(0, flat.size, _SLICE):
            part = slice(start, min(start + _SLICE, flat.size))
            blocks = slice(start // BLOCK, _blocks(part.stop))
            wanted = flat[part] if left is None else flat[part] + left[part]
            levels[part], scales[blocks] = _rounded(wanted)
            if left is not None and np.isfinite(scales[blocks]).all():
                left[part] = wanted - _spread(levels[part], scales[blocks])
        return {"": levels, _SCALE: scales}

    def size(self, parts: Mapping[str, npt.NDArray[Any]]) -> int:
        """Return n; raises `ValueError` for arrays of other types or lengths."""
        levels, scales = parts[""], parts[_SCALE]
        if levels.dtype != np.int8 or scales.dtype != np.float32:
            msg = f"expected int8 and float32, got {levels.dtype} and {scales.dtype}"
            raise ValueError(msg)
        if scales.size != _blocks(levels.size):
            msg = f"{levels.size} values need {_blocks(levels.size)} scales, got {scales.size}"
            raise ValueError(msg)
        return int(levels.size)

    def decode(
        self, name: str, parts: Mapping[str, npt.NDArray[Any]], start: int, stop: int
    ) -> Float32:
        """Return float32[stop - start]; `start` must be a multiple of 256."""
        return _spread(parts[""][start:stop], parts[_SCALE][start // BLOCK : _blocks(stop)])

    def _residual(self, name: str, size: int) -> Float32 | None:
        if not self._feedback:
            return None
        if name not in self._residuals:
            self._residuals[name] = np.zeros(size, np.float32)
        return self._residuals[name]


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _rounded(values: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """Return levels and scales of up to `_SLICE` values."""
    padded = np.zeros((_blocks(values.size), BLOCK), np.float32)
    padded.ravel()[: values.size] = values
    scales = np.abs(padded).max(axis=1) / _LEVELS  # NaN and infinity stay what they are
    divisor = np.where(np.isfinite(scales) & (scales > 0), scales, np.float32(np.inf))
    with np.errstate(invalid="ignore"):  # infinity / infinity; the scale tells the decoder
        levels = np.nan_to_num(np.rint(padded / divisor[:, None]))
    # Below 1e-36 the scale itself is rounded, and the largest may lie beyond the last level.
    levels = np.clip(levels, -_LEVELS, _LEVELS)
    return levels.ravel()[: values.size].astype(np.int8), scales


def _spread(levels: npt.NDArray[np.int8], scales: Float32) -> Float32:
    """Return every level times the scale of its block."""
    values = levels.astype(np.float32)
    whole = levels.size - levels.size % BLOCK
    with np.errstate(invalid="ignore", over="ignore"):  # 0 * infinity is NaN: that is the message
        values[:whole].reshape(-1, BLOCK)[:] *= scales[: whole // BLOCK, None]
        values[whole:] *= scales[whole // BLOCK :]
    return values
