"""The change of a float as a step in units in the last place, on bit patterns.

An optimizer step moves most of the weights that change by exactly one such unit, so steps need
fewer bits than values. All arithmetic is on unsigned bit patterns, not on floats: numpy has no
bfloat16, and NaN must keep its bits.
"""

from typing import Any

import numpy.typing as npt

Bits = npt.NDArray[Any]
"""uint16[n] (bfloat16, float16) or uint32[n] (float32)."""


def steps_between(old: Bits, new: Bits) -> Bits:
    """Return the steps from `old` to `new`, with the sign in the lowest bit: 0, -1, 1, -2, ...
    become 0, 1, 2, 3, ...

    Between any two patterns there is one step, for it wraps around: infinity, NaN and both zeros
    are numbers on the line like all others.
    """
    distance = _ordered(new) - _ordered(old)
    signed = _signed(distance)
    zigzag: Bits = (distance << 1) ^ (signed >> _top(signed)).view(distance.dtype)
    return zigzag


def take_steps(old: Bits, steps: Bits) -> Bits:
    """Return the patterns that lie `steps`, as `steps_between` gives them, away from `old`."""
    distance = (steps >> 1) ^ (-_signed(steps & 1)).view(steps.dtype)
    ordered = _ordered(old) + distance
    signed = _signed(ordered)
    # The highest bit says that the float is positive: negative ones have all bits turned.
    turned = (~(signed >> _top(signed))).view(ordered.dtype)
    bits: Bits = ordered ^ (turned | _highest(ordered))
    return bits


def _ordered(bits: Bits) -> Bits:
    """Return integers that lie in the order of the floats: neighbours differ by one."""
    signed = _signed(bits)
    turned = (signed >> _top(signed)).view(bits.dtype)
    ordered: Bits = bits ^ (turned | _highest(bits))
    return ordered


def _signed(bits: Bits) -> Bits:
    return bits.view(f"i{bits.dtype.itemsize}")


def _top(values: Bits) -> int:
    return 8 * values.dtype.itemsize - 1


def _highest(bits: Bits) -> Any:
    return bits.dtype.type(1 << _top(bits))
