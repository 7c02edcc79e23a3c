"""What the learner spends: steps are work, all other time of its process is waiting.

The learner is one device, the machine that it runs on, however many threads a step takes.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import attrs

from ralo_server.store.compute import LEARNER, Compute, Session, Spent

_REPORT_SECONDS = 2.0


@attrs.define
class LearnerCompute:
    """The time of a learner that starts now, reported to `compute`; for its main thread. `clock`
    returns the seconds of a monotonic clock."""

    compute: Compute
    clock: Callable[[], float] = time.monotonic
    _session: str = attrs.field(factory=lambda: uuid.uuid4().hex, init=False)
    _started: float = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.clock(), takes_self=True)
    )
    _worked: float = attrs.field(default=0.0, init=False)
    _since: float | None = attrs.field(default=None, init=False)
    _reported: float = attrs.field(default=0.0, init=False)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Book the time of the block as work."""
        self._since = self.clock()
        try:
            yield
        finally:
            self._worked += self.clock() - self._since
            self._since = None

    def keep(self) -> None:
        """Report now and then."""
        if self.clock() - self._reported >= _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Store the time until now, also of the work under way."""
        now = self._reported = self.clock()
        age = now - self._started
        worked = self._worked + (0.0 if self._since is None else now - self._since)
        session = Session(id=self._session, worker_id=f"learner-{os.getpid()}", age_seconds=age)
        spent = Spent(working_seconds=worked, waiting_seconds=age - worked)
        self.compute.report(session, {LEARNER: spent})

    def step_metrics(self) -> Mapping[str, float]:
        """Return what the run has cost until now, for a step that is about to be committed."""
        self.report()
        return self.compute.step_metrics()
