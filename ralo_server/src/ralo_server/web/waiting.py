"""Long polls: ask the store again until there is something, the time is up or we stop.

Neighbours: resources of `web` that hand out work. The store is shared with other processes,
so asking is the one way to learn of a change; a question costs some ten microseconds.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import attrs

T = TypeVar("T")

MAX_SECONDS = 30.0
_PAUSE_SECONDS = 0.02


def _always() -> bool:
    return True


@attrs.define
class Waiting:
    """`alive` says whether this process still serves; waits end when it does not."""

    alive: Callable[[], bool] = _always

    def until(self, ask: Callable[[], T | None], seconds: float) -> T | None:
        """Return the first answer of `ask` that is not None, or None after `seconds`."""
        deadline = time.monotonic() + min(seconds, MAX_SECONDS)
        while True:
            answer = ask()
            if answer is not None or time.monotonic() >= deadline or not self.alive():
                return answer
            time.sleep(_PAUSE_SECONDS)
