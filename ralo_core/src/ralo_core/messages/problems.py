"""Problems that samplers lease."""

import attrs

from ralo_core.data import Problem


@attrs.frozen(kw_only=True)
class LeasedProblem:
    """A problem with the lease that its tree must quote; `expires` is unix time in seconds."""

    problem: Problem
    lease_id: str
    expires: float


@attrs.frozen(kw_only=True)
class LeasedProblems:
    """Reply of ``GET /problem/get``."""

    problems: tuple[LeasedProblem, ...]
