"""Runs processes of a `Plan` on this machine until all have ended, or until told to end.

On one machine that is a whole plan, in a job of a scheduler one part of it. The logs lie below
``logs`` of the run directory, where ``ralo logs`` finds them.
"""

import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from ralo.launch.plan import Process
from ralo_core.errors import RaloError
from ralo_core.supervise import Supervisor

log = logging.getLogger(__name__)

RALO = (sys.executable, "-m", "ralo_core.cli.main")
GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.1


@attrs.define
class Processes:
    """`processes` of the run in `run_dir`. One that fails is started again, as often as a
    `Supervisor` does."""

    run_dir: Path
    processes: Sequence[Process]
    _ending: threading.Event = attrs.field(factory=threading.Event, init=False)

    def run(self) -> None:
        """Return when all have ended well, or `end` was called and they have ended.

        Raises `RaloError` with the end of its log if one of them cannot be kept running.
        """
        supervisor = Supervisor()
        try:
            for process in self.processes:
                argv = [*RALO, *process.arguments]
                path = self.run_dir / "logs" / f"{process.name}.log"
                supervisor.start(process.name, argv, path, environment=process.environment)
            self._watch(supervisor)
        finally:
            supervisor.stop(GRACE_SECONDS)

    def end(self) -> None:
        """Tell the processes to end; from any thread."""
        self._ending.set()

    def _watch(self, supervisor: Supervisor) -> None:
        while not self._ending.is_set():
            over = supervisor.poll()
            for child in over:
                if child.exit_code:
                    raise RaloError(child.exit_report())
            if len(over) == len(self.processes):
                return
            time.sleep(_POLL_SECONDS)
