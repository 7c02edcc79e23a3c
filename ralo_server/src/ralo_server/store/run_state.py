"""The life of a run: running -> draining -> evaluating -> finished, and its clock.

The learner calls `advance` after every step and while idle; the web side reads `current` to know
what to hand out and accepts ``/stop``. Limits may be raised between two starts: a run that is over
then goes on.
"""

import sqlite3
import time

import attrs

from ralo_core.config import Config, RunSettings
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import Evaluations
from ralo_server.store.problems import Problems
from ralo_server.store.states import (
    GRADIENTS,
    PROBLEMS,
    RUN_TRANSITIONS,
    TREES,
    GradientState,
    ProblemState,
    RunState,
    TreeState,
)
from ralo_server.store.values import get_value, put_value, put_values
from ralo_server.store.weights.versions import Versions

RUNNING, DRAINING = RunState.RUNNING, RunState.DRAINING
EVALUATING, FINISHED = RunState.EVALUATING, RunState.FINISHED


@attrs.frozen(kw_only=True)
class RunProgress:
    """State, step count and clock of a run."""

    database: Database
    problems: Problems
    versions: Versions
    evaluations: Evaluations
    config: Config

    def current(self) -> RunState:
        """Return the state; ``running`` for a new run."""
        return RunState(get_value(self.database, "state", RUNNING))

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
        """Add to the seconds of work."""
        with self.database.write() as connection:
            put_value(connection, "elapsed", self.elapsed() + seconds)

    def request_stop(self) -> RunState:
        """Start draining, as ``/stop`` asks; return the state then."""
        with self.database.write() as connection:
            if self.current() == RUNNING:
                _enter(connection, RUNNING, DRAINING)
            put_value(connection, "stop_requested", True)
        return self.current()

    def reopen(self) -> None:
        """At a start of the orchestrator: go on if no limit is reached any more.

        A run that was asked to stop finishes first, whatever was killed meanwhile.
        """
        state = self.current()
        if state == RUNNING or self._steps_done() or self._time_over():
            return
        if state != FINISHED and get_value(self.database, "stop_requested", False):
            return
        with self.database.write() as connection:
            _enter(connection, state, RUNNING)
            put_value(connection, "stop_requested", False)

    def advance(self) -> RunState:
        """Make the transitions that are due and return the state."""
        state = self.current()
        # The learner asks a hundred times a second; only a change needs a turn as a writer.
        if self._following(state) == state:
            return state
        with self.database.write() as connection:
            # Read again: a stop that came in between must not be written over.
            state = self.current()
            while (following := self._following(state)) != state:
                if following == EVALUATING:
                    self._evaluate_last(connection)
                _enter(connection, state, following)
                put_value(connection, f"{following}_at", time.time())
                state = following
        return state

    def _following(self, state: RunState) -> RunState:
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
        return (
            PROBLEMS.count(self.database, ProblemState.LEASED)
            + TREES.count(self.database, TreeState.QUEUED, TreeState.LEASED)
            + GRADIENTS.count(self.database, GradientState.PENDING)
        )

    def _steps_done(self) -> bool:
        limit = self.config.section(RunSettings).max_steps
        return bool(limit) and self.step() >= limit

    def _time_over(self) -> bool:
        limit = self.config.section(RunSettings).max_minutes
        return bool(limit) and self.elapsed() >= limit * 60


def _enter(connection: sqlite3.Connection, before: RunState, after: RunState) -> None:
    if after not in RUN_TRANSITIONS[before]:
        msg = f"a run does not become {after} from {before}"
        raise ValueError(msg)
    put_value(connection, "state", after)
