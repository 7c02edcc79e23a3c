"""One call at a time in a thread beside the main thread; without overlap, in the main thread."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class BackgroundCall(Generic[R]):
    """Runs calls in a thread of its own, `name`, one after the other; at once if not `overlap`."""

    def __init__(self, name: str, overlap: bool) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name) if overlap else None
        self._running: Future[R] | None = None

    @property
    def busy(self) -> bool:
        """Whether there is a call whose result was not asked for."""
        return self._running is not None

    def start(self, call: Callable[..., R], *arguments: Any) -> None:
        """Begin a call; the one before must have been waited for. Without overlap it raises here
        what the call does, and there is no result to ask for."""
        assert self._running is None
        if self._pool is not None:
            self._running = self._pool.submit(call, *arguments)
            return
        over: Future[R] = Future()
        over.set_result(call(*arguments))
        self._running = over

    def result(self, timeout: float | None = None) -> R | None:
        """Return what the call gave, None if none was begun; raises what the call did, and
        `TimeoutError` if it is not over within `timeout` seconds."""
        if self._running is None:
            return None
        running = self._running
        try:
            return running.result(timeout)
        finally:
            if running.done():
                self._running = None

    def close(self) -> None:
        """Wait for the last call and end the thread; `start` must not be called any more."""
        if self._pool is not None:
            self._pool.shutdown()
