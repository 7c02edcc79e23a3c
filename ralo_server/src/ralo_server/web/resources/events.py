"""The events of the run, as a stream that stays open."""

from collections.abc import Generator, Iterator

import attrs
import falcon

from ralo_core.messages.stats import RunStats
from ralo_server.web.live.feed import Feed
from ralo_server.web.live.waiting import Waiting
from ralo_server.web.responses.problem_documents import busy
from ralo_server.web.services import Services

_QUESTION = "events"
_DIGITS = 16
_CAUGHT_UP = 1000
"""Steps that a client who was away is told of; a page that lacks more asks for series again."""


@attrs.define
class EventStream:
    """Some events for one client, who holds a place among those that wait until it is closed."""

    events: Generator[bytes, None, None]
    waiting: Waiting
    _open: bool = attrs.field(default=True, init=False)

    @classmethod
    def begin(cls, feed: Feed, waiting: Waiting, after: int | None) -> "EventStream | None":
        """Take a place and listen; None if there is no place."""
        return cls(feed.listen(after), waiting) if waiting.enter(_QUESTION) else None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.events)

    def close(self) -> None:
        """Give the place back; gunicorn calls it, also when the client has gone away."""
        if self._open:
            self._open = False
            self.waiting.leave(_QUESTION)
            self.events.close()


class Events:
    """``GET /events``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        waiting = services.waiting
        self._feed = Feed(self._look, self._steps, alive=lambda: waiting.alive())

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Send the state now, then whatever changes, until the run is over.

        A client that comes back quotes the last step it has heard of (``Last-Event-ID``, or
        ``after``) and is told of those since.
        """
        after = request.get_param_as_int(
            "after", max_value=10**_DIGITS, default=_last_heard(request)
        )
        stream = EventStream.begin(self._feed, self._services.waiting, after)
        if stream is None:
            raise busy("no thread is left that may wait; ask for /stats, or raise server.threads")
        response.content_type = "text/event-stream"
        response.cache_control = ("no-store",)
        response.set_header("X-Accel-Buffering", "no")  # nginx would keep events back
        response.stream = stream

    def _look(self) -> tuple[RunStats, bool]:
        return self._services.current.now(), self._services.finished

    def _steps(self, after: int) -> list[tuple[int, dict[str, float]]]:
        return self._services.store.steps.after(after, _CAUGHT_UP)


def _last_heard(request: falcon.Request) -> int | None:
    text = request.get_header("Last-Event-ID") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else None
