"""A small line of numbers as text: the reward curve in the terminal."""

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"


def chart(values: Sequence[float], width: int = 64, height: int = 6) -> list[str]:
    """Return `height` lines of block characters, `values` averaged into at most `width` columns.

    The scale runs from the smallest to the largest column; both are written at the right.
    """
    if not values:
        return [""] * height
    columns = averaged(values, width)
    low, high = min(columns), max(columns)
    span = (high - low) or 1.0
    levels = [(value - low) / span * (height * 8 - 1) + 1 for value in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        cells = (_BLOCKS[int(min(8, max(0, level - row * 8)))] for level in levels)
        label = f" {high:.3f}" if row == height - 1 else f" {low:.3f}" if row == 0 else ""
        lines.append("".join(cells) + label)
    return lines


def averaged(values: Sequence[float], width: int) -> list[float]:
    """Return the values as means over at most `width` parts of the same length."""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:], strict=False)]
