"""The reply to work that was handed in."""

import attrs


@attrs.frozen(kw_only=True)
class Accepted:
    """Reply of ``POST /upload``, ``POST /eval/job/report`` and ``POST /compute/report``.

    A `duplicate` was stored before and had no effect; for compute, whose totals are compared and
    not added, it is always False.
    """

    accepted: bool
    duplicate: bool = False
