"""How many calls are in flight in all threads, for whoever must wait until there are none."""

import threading
from types import TracebackType


class CallsInFlight:
    """A context manager for many threads at once: each block inside it is in flight."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_until_none(self) -> None:
        """Return once no block is in flight."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)
