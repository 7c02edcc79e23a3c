"""The orchestrator's clock, read from this machine: `WeightVersion.created` is a time of that one.

The age of a version is needed, but the clocks of two machines differ. Every reply to a heartbeat
carries the orchestrator's time. That time lies between the sending of the request and the arrival
of the reply, so the middle of these is wrong by half the round trip at most. Of the last replies
the quickest one counts.
"""

import time
from collections import deque

import attrs

_REMEMBERED = 16


@attrs.define
class ServerClock:
    """Offsets to the orchestrator's clock by the last round trips; before the first it is taken
    for this machine's own. Written by one thread, read by any."""

    _answers: deque[tuple[float, float]] = attrs.field(
        factory=lambda: deque(maxlen=_REMEMBERED), init=False
    )

    def heard(self, sent: float, server: float, received: float) -> None:
        """Note an answer with the time `server` to a request `sent` and answered `received`; all
        unix seconds, the outer two of this machine."""
        self._answers.append((received - sent, server - (sent + received) / 2))

    def now(self) -> float:
        """Return the orchestrator's unix time in seconds."""
        answers = tuple(self._answers)
        return time.time() + (min(answers)[1] if answers else 0.0)
