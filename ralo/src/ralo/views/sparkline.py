"""A row of numbers as a line of small bars."""

from collections.abc import Sequence

from ralo.views.chart import averaged

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return at most `width` bars, from the smallest value to the largest; many values are averaged
    into each, equal ones are low bars."""
    if not values or width < 1:
        return ""
    columns = averaged(values, width)
    low, high = min(columns), max(columns)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in columns)
