"""The law of ScaleRL (Khatri et al. 2025, arXiv 2510.13786), how a metric R grows with compute C:

    R(C) = R0 + (A - R0) / (1 + (C_mid / C)^B)

R0 is where it begins, A the asymptote, C_mid the compute at which half of the rise is done, B the
steepness. In log C it is a logistic curve; all arithmetic is done there, because compute spans
decades. At C = 0 it is R0.
"""

import attrs
import numpy as np
import numpy.typing as npt
from scipy.special import expit

Values = npt.NDArray[np.float64]


@attrs.frozen(kw_only=True)
class Law:
    """A curve; `C_mid` in the unit of the compute that it is asked for."""

    A: float
    R0: float
    C_mid: float
    B: float

    def __call__(self, compute: npt.ArrayLike) -> Values:
        """Return R at each of `compute`, all at least 0."""
        return self.R0 + (self.A - self.R0) * self.share(compute)

    def share(self, compute: npt.ArrayLike) -> Values:
        """Return which share of the rise, 0 to 1, is done at each of `compute`."""
        return rise(log(compute), np.log(self.C_mid), self.B)


def log(compute: npt.ArrayLike) -> Values:
    """Return ln C, minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(compute, np.float64))


def rise(log_compute: Values, log_mid: npt.ArrayLike, steepness: npt.ArrayLike) -> Values:
    """Return the share of the rise that is done at `log_compute`; the three broadcast."""
    share: Values = expit(np.asarray(steepness) * (log_compute - np.asarray(log_mid)))
    return share
