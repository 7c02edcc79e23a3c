"""The life of a run: running -> draining -> evaluating -> finished, and its clock.

Neighbours: the learner calls `advance` after every step and while idle; the web side reads
`current` to know what to hand out and accepts ``/stop``. Limits may be raised between two
starts: a run that is over then goes on.
"""

import sqlite3
import time

import attrs

from ralo_core.config import Config, RunSettings
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import Evaluations
from ralo_server.store.problems import Problems
from ralo_server.store.values import get_value, put_value, put_values
from ralo_server.store.weights.versions import Versions

RUNNING, DRAINING, EVALUATING, FINISHED = "running", "draining", "evaluating", "finished"


@attrs.frozen(kw_only=True)
class RunState:
    """State, step count and clock of a run."""

    database: Database
    problems: Problems
    versions: Versions
    evaluations: Evaluations
    config: Config

    def current(self) -> str:
        """Return the state; ``running`` for a new run."""
        state: str = get_value(self.database, "state", RUNNING)
        return state

    def name(self) -> str:
        """Return the name that the run was given at its beginning."""
        name: str = get_value(self.database, "run", "")
        return name

    def note_error(self, text: str) -> None:
        """Store what ``/stats`` shows as the last error; ``""`` for none."""
        put_values(self.database, {"last_error": text})

    def step(self) -> int:
        """Return the number of committed optimizer steps."""
        return int(self.database.value("SELECT MAX(step) FROM steps") or 0)

    def elapsed(self) -> float:
        """Return the seconds that the run has been worked on, restarts' gaps left out."""
        return float(get_value(self.database, "elapsed", 0.0))

    def tick(self, seconds: float) -> None:
        """Let the clock go on."""
        with self.database.write() as connection:
            put_value(connection, "elapsed", self.elapsed() + seconds)

    def request_stop(self) -> str:
        """Start draining, as ``/stop`` asks; return the state then."""
        with self.database.write() as connection:
            if self.current() == RUNNING:
                put_value(connection, "state", DRAINING)
            put_value(connection, "stop_requested", True)
        return self.current()

    def reopen(self) -> None:
        """At a start of the orchestrator: go on if no limit is reached any more.

        A run that was asked to stop finishes first, whatever was killed meanwhile.
        """
        if self.current() == RUNNING or self._steps_done() or self._time_over():
            return
        if self.current() != FINISHED and get_value(self.database, "stop_requested", False):
            return
        with self.database.write() as connection:
            put_value(connection, "state", RUNNING)
            put_value(connection, "stop_requested", False)

    def advance(self) -> str:
        """Make the transitions that are due and return the state."""
        # Here, too: a drain waits for leases, and no worker may be left to ask for anything.
        self.problems.leases.expire()
        state = self.current()
        # The learner asks a hundred times a second; only a change needs a turn as a writer.
        if self._following(state) == state:
            return state
        with self.database.write() as connection:
            # Read again: a stop that came in between must not be written over.
            state = self.current()
            while (following := self._following(state)) != state:
                state = following
                if state == EVALUATING:
                    self._evaluate_last(connection)
                put_value(connection, "state", state)
                put_value(connection, f"{state}_at", time.time())
        return state

    def _following(self, state: str) -> str:
        """Return the state to be in now, `state` itself if no transition is due."""
        if state in (RUNNING, DRAINING) and self._steps_done():
            # Trees and gradients that are left stay queued: a higher limit takes them up.
            return EVALUATING
        if state == RUNNING and (self._time_over() or self.problems.all_handed_out()):
            return DRAINING
        if state == DRAINING and not self._outstanding():
            return EVALUATING
        if state == EVALUATING and not self.evaluations.open():
            return FINISHED
        return state

    def _evaluate_last(self, connection: sqlite3.Connection) -> None:
        newest, benchmarks = self.versions.newest_number(), self.evaluations.benchmarks.plans()
        self.evaluations.schedule(connection, newest, benchmarks)

    def _outstanding(self) -> int:
        """Return the work under way: problems and batches out, trees and gradients waiting."""
        return int(
            self.database.value(
                """SELECT (SELECT COUNT(*) FROM problems WHERE state = 'leased')
                    + (SELECT COUNT(*) FROM trees WHERE state IN ('queued', 'leased'))
                    + (SELECT COUNT(*) FROM gradients WHERE state = 'pending')"""
            )
        )

    def _steps_done(self) -> bool:
        limit = self.config.section(RunSettings).max_steps
        return bool(limit) and self.step() >= limit

    def _time_over(self) -> bool:
        limit = self.config.section(RunSettings).max_minutes
        return bool(limit) and self.elapsed() >= limit * 60
