"""Long polls: ask the store again until there is something, the time is up or we stop.

The store is shared with other processes, so asking is the one way to learn of a change; a question
costs some hundred microseconds. So of all the requests that wait for the same only one asks, and
the others sleep until it has gone.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
import falcon

T = TypeVar("T")

MAX_SECONDS = 30.0
_PAUSE_SECONDS = 0.02
_RETRY_SECONDS = "1"


def waiting_places(threads: int) -> int:
    """Return how many of a server's threads requests may hold that only wait."""
    return max(1, threads * 3 // 4)


def _always() -> bool:
    return True


@attrs.define
class Waiting:
    """At most `places` requests wait at once, so that the others always find a thread; `alive`
    says whether this process still serves: waits end when it does not."""

    places: int
    alive: Callable[[], bool] = _always
    _turns: dict[Hashable, tuple[threading.Lock, int]] = attrs.field(factory=dict, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def until(
        self,
        question: Hashable,
        ask: Callable[[], T | None],
        seconds: float,
        response: falcon.Response,
    ) -> T | None:
        """Return the first result of `ask` that is not None, or None after `seconds`.

        What one request with the same `question` is told must do for all of them. Without a
        result `response` gets status 204, and ``Retry-After`` where there was no place to wait.
        """
        deadline = time.monotonic() + min(seconds, MAX_SECONDS)
        found = ask()
        if found is None and seconds > 0:
            with self._turn(question) as turn:
                if turn is None:
                    response.set_header("Retry-After", _RETRY_SECONDS)
                else:
                    found = self._ask_in_turn(turn, ask, deadline)
        if found is None:
            response.status = falcon.HTTP_204
        return found

    def _ask_in_turn(
        self, turn: threading.Lock, ask: Callable[[], T | None], deadline: float
    ) -> T | None:
        if not turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return None
        try:
            while self.alive():
                found = ask()
                if found is not None or time.monotonic() >= deadline:
                    return found
                time.sleep(_PAUSE_SECONDS)
            return None
        finally:
            turn.release()

    @contextmanager
    def _turn(self, question: Hashable) -> Iterator["threading.Lock | None"]:
        """Take a place among those who wait for `question`; None if all places are taken."""
        turn = self.enter(question)
        try:
            yield turn
        finally:
            if turn is not None:
                self.leave(question)

    def enter(self, question: Hashable) -> "threading.Lock | None":
        """Take a place until `leave`, for `question`; None, and no place, if all are taken.

        The lock is that of all who wait for the same.
        """
        with self._guard:
            if sum(waiting for _, waiting in self._turns.values()) >= self.places:
                return None
            turn, waiting = self._turns.get(question, (threading.Lock(), 0))
            self._turns[question] = (turn, waiting + 1)
            return turn

    def leave(self, question: Hashable) -> None:
        """Give a place back that `enter` gave."""
        with self._guard:
            turn, waiting = self._turns.pop(question)
            if waiting > 1:
                self._turns[question] = (turn, waiting - 1)
