"""Scaling laws that were fitted to the evaluations of a run."""

from collections.abc import Mapping

import attrs

from ralo_core.messages.evaluations import Estimate


@attrs.frozen(kw_only=True)
class Fit:
    """The law ``R(C) = R0 + (A - R0) / (1 + (C_mid / C)^B)`` of one metric of one benchmark.

    `points` are compute of training in device-seconds, and value. `fit` has A, R0, C_mid and B with
    their 95 % intervals, or is None, and `refused` says why. `curve` has compute, value, and the
    95 % band.
    """

    benchmark: str
    metric: str
    points: tuple[tuple[float, float], ...]
    fit: Mapping[str, Estimate] | None
    refused: str
    curve: tuple[tuple[float, float, float, float], ...]


@attrs.frozen(kw_only=True)
class Fits:
    """Reply of ``GET /eval/fit``."""

    fits: tuple[Fit, ...]
