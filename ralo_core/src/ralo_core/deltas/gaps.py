"""Ascending positions as the gaps between them, one byte each where they are short.

A byte below 255 ends a gap; 255 stands for 255 places that are skipped and says that the gap
continues.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

_LONGER = 255

Positions = npt.NDArray[np.int64]


def to_gaps(positions: Positions) -> npt.NDArray[np.uint8]:
    """Return the gaps before every one of the ascending `positions`, uint8[m], m >= n."""
    gaps = np.diff(positions, prepend=-1) - 1
    if not gaps.size or int(gaps.max()) < _LONGER:
        return gaps.astype(np.uint8)
    ends = np.cumsum(gaps // _LONGER + 1) - 1
    written = np.full(int(ends[-1]) + 1, _LONGER, np.uint8)
    written[ends] = gaps % _LONGER
    return written


def from_gaps(gaps: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """Return the positions that `gaps` stand for, int64[n], n = number of bytes below 255."""
    ends = np.flatnonzero(gaps != _LONGER)
    skipped = np.cumsum(gaps, dtype=np.int64)[ends]
    return skipped + np.arange(ends.size)
