"""Whether measured points determine a scaling law, and if not, why: one sentence.

A law with four numbers fits almost anything, and its asymptote is then a guess far outside what was
measured. So a fit is refused unless the points show a rise, its bend and where it leads.
"""

import numpy as np
from scipy.special import fdtrc

from ralo_server.scaling.intervals import Replicates
from ralo_server.scaling.law import Law
from ralo_server.scaling.least_squares import Points, at_bound, unfitted

_SPARE_POINTS = 2
"""So many more than numbers to be found: the noise must be seen, too."""
_LEAST_DECADES = 0.25
_BY_CHANCE = 0.001
"""How probable a rise or a bend may be where there is none."""
_LEAST_REACHED, _MOST_BEGUN = 2 / 3, 1 / 3
"""The share of the rise that must be done at the largest compute, and may be at the smallest where
the value at none is not known."""
_WIDEST_END = 0.5
"""The widest interval of A and of R0, in parts of the rise."""
_WIDEST_MID = 10.0
"""The widest interval of C_mid, as the ratio of its ends."""


def too_little(points: Points) -> str:
    """Return why `points` are too few to fit, ``""`` if they are not."""
    spent = np.unique(points.spent)
    needed = points.free + _SPARE_POINTS
    if len(spent) < needed:
        return (
            f"too few points: {len(spent)} measurements at different compute, a curve of "
            f"{points.free} unknown numbers needs {needed}"
        )
    decades = np.log10(spent[-1] / spent[0])
    if decades < _LEAST_DECADES:
        return (
            f"too little range: the largest compute is {spent[-1] / spent[0]:.2f} times the "
            f"smallest, {10**_LEAST_DECADES:.2f} times are needed"
        )
    return ""


def without_shape(points: Points, law: Law) -> str:
    """Return why `law`, the best one, says nothing about `points`: no rise, or no bend."""
    left, freedom = unfitted(points, law), len(points.values) - points.free
    if left <= 1e-20 * float((points.values**2).sum()):
        left = 0.0
    flat = _error_of_line(points, np.zeros((len(points.values), 0)))
    if _chance(flat, left, points.free - 1, freedom) > _BY_CHANCE:
        return "no rise beyond the noise: a constant describes the points about as well"
    spent = points.compute > 0
    slope = np.log(points.compute[spent])[:, None]
    here = Points(points.compute[spent], points.values[spent])
    line = _error_of_line(here, slope)
    if _chance(line, unfitted(here, law), 2, len(here.values) - 4) > _BY_CHANCE:
        return (
            "no bend beyond the noise: a straight line in log-compute describes the points about "
            "as well, so they do not say where the rise ends"
        )
    return ""


def out_of_range(points: Points, law: Law) -> str:
    """Return why the points of `law` end, or begin, too early to know it."""
    spent = points.spent
    low, high = spent.min(), spent.max()
    if not low <= law.C_mid <= high:
        side = "below" if law.C_mid < low else "above"
        return (
            f"C_mid lies outside the measured range: the best curve has it at {law.C_mid:.3g}, "
            f"{side} the range of {low:.3g} to {high:.3g}"
        )
    reached = float(law.share(high))
    if reached < _LEAST_REACHED:
        return (
            f"the asymptote is not determined: at the largest compute {reached:.0%} of the best "
            f"curve's rise is done, {_LEAST_REACHED:.0%} are needed"
        )
    begun = float(law.share(points.compute.min()))
    if points.start is None and begun > _MOST_BEGUN:
        return (
            f"the beginning is not determined: at the smallest compute {begun:.0%} of the best "
            f"curve's rise is done, {_MOST_BEGUN:.0%} may be; evaluate version 0, or more often"
        )
    if at_bound(law):
        return (
            f"B is not determined: at {law.B:.3g} it is as "
            f"{'steep' if law.B > 1 else 'flat'} as a curve may be; measure more often in the rise"
        )
    return ""


def too_wide(found: Replicates) -> str:
    """Return why intervals are too wide to be of use."""
    known, law = found.intervals(), found.law
    for name, end in (("A", "asymptote"), ("R0", "beginning")):
        width = (known[name].high - known[name].low) / (law.A - law.R0)
        if width > _WIDEST_END:
            return (
                f"the {end} is not determined: {name} could lie from {known[name].low:.3g} to "
                f"{known[name].high:.3g}, {width:.0%} of the rise"
            )
    ratio = known["C_mid"].high / known["C_mid"].low
    if ratio > _WIDEST_MID:
        return (
            f"C_mid is not determined: it could lie from {known['C_mid'].low:.3g} to "
            f"{known['C_mid'].high:.3g}"
        )
    return ""


def _error_of_line(points: Points, columns: np.ndarray) -> float:
    """Return the squared error of the best linear combination of a constant and `columns`."""
    basis = np.column_stack([np.ones(len(points.values)), columns])
    coefficients = np.linalg.lstsq(basis, points.values, rcond=None)[0]
    return float(((basis @ coefficients - points.values) ** 2).sum())


def _chance(simple: float, better: float, more: int, freedom: int) -> float:
    """Return the p-value of the F test: how probable it is that a model with `more` numbers has an
    error as much smaller, where the simple one is true."""
    if freedom < 1:
        return 1.0
    if better <= 0:
        return 0.0 if simple > 0 else 1.0
    return float(fdtrc(more, freedom, max(0.0, (simple - better) / more) / (better / freedom)))
