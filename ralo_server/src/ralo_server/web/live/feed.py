"""The listeners to the run: one thread looks once a second, and everybody is told.

The thread is there only while somebody listens; another open dashboard costs the writing of what
it is sent and no query. A listener remembers how far it has heard; nothing is kept for it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

import attrs

from ralo_core.messages.stats import RunStats
from ralo_server.web.live.news import Bulletin, Item, Step, Watch, step_item

_INTERVAL_SECONDS = 1.0
_SILENCE_SECONDS = 15.0
_REMEMBERED = 1000
"""News that a listener who is slow to read may be behind; ``/series`` has what it then misses."""

COMMENT = b": still here\n\n"
END = b"event: end\ndata: {}\n\n"


@attrs.frozen
class _Heard:
    """How far a listener has heard, and whether there will be more."""

    stats: bytes
    number: int
    step: int
    more: bool = True


class Feed:
    """The events of a run, whose `state` and `steps` are those of `Watch`.

    `alive` says whether this process still serves. Where a look fails, with its error in the log,
    every stream ends, and clients come again.
    """

    def __init__(
        self,
        state: Callable[[], tuple[RunStats, bool]],
        steps: Callable[[int], Sequence[Step]],
        alive: Callable[[], bool],
    ) -> None:
        self._state, self._steps, self._alive = state, steps, alive
        self._changed = threading.Condition()
        self._listeners = 0
        self._watch: Watch | None = None
        self._latest: Bulletin | None = None
        self._news: deque[tuple[int, Item]] = deque(maxlen=_REMEMBERED)
        self._number = 0

    def listen(self, after: int | None) -> Generator[bytes, None, None]:
        """Yield events until the run is over or the process stops; closing it ends it at once.

        First the state as it is, then, with `after`, the steps after that one, then what comes.
        """
        self._enter()
        try:
            yield from self._events(after)
        finally:
            with self._changed:
                self._listeners -= 1

    def _enter(self) -> None:
        with self._changed:
            self._listeners += 1
            if self._watch is None:
                self._watch, self._latest = Watch(self._state, self._steps), None
                looking = threading.Thread(
                    target=self._look_on, args=(self._watch,), name="feed", daemon=True
                )
                looking.start()

    def _events(self, after: int | None) -> Iterator[bytes]:
        with self._changed:
            while self._latest is None and self._goes_on():
                self._changed.wait(_INTERVAL_SECONDS)
            first, number = self._latest, self._number
        if first is None:
            return
        yield first.stats
        heard = _Heard(first.stats, number, first.last_step)
        for item in map(step_item, [] if after is None else self._steps(after)):
            yield item.text
            heard = attrs.evolve(heard, step=max(heard.step, item.step))
        yield from self._what_follows(heard)

    def _what_follows(self, heard: _Heard) -> Iterator[bytes]:
        told = time.monotonic()
        while heard.more:
            texts, heard = self._next(heard)
            if not texts and time.monotonic() - told >= _SILENCE_SECONDS:
                texts = [COMMENT]
            if texts:
                # One write for all of them: the client hears of a moment at once.
                yield b"".join(texts)
                told = time.monotonic()

    def _next(self, heard: _Heard) -> tuple[list[bytes], _Heard]:
        """Return what is new to a listener, waiting for it a moment, and how far that leads."""
        with self._changed:
            if not self._is_news(heard) and self._goes_on():
                self._changed.wait(_INTERVAL_SECONDS)
            items = [item for number, item in self._news if number > heard.number]
            number, latest, goes_on = self._number, self._latest, self._goes_on()
        texts = [item.text for item in items if not item.step or item.step > heard.step]
        if latest is None:
            return texts, _Heard(heard.stats, number, heard.step, goes_on)
        if latest.stats != heard.stats:
            texts.insert(0, latest.stats)
        if latest.over:
            texts.append(END)
        return texts, _Heard(latest.stats, number, heard.step, goes_on and not latest.over)

    def _is_news(self, heard: _Heard) -> bool:
        latest = self._latest
        return self._number > heard.number or (
            latest is not None and (latest.over or latest.stats != heard.stats)
        )

    def _goes_on(self) -> bool:
        return self._watch is not None and self._alive()

    def _look_on(self, watch: Watch) -> None:
        try:
            while self._is_wanted(watch):
                begun = time.monotonic()
                bulletin = watch.look()
                self._publish(bulletin)
                if bulletin.over:
                    return
                time.sleep(max(0.0, begun + _INTERVAL_SECONDS - time.monotonic()))
        finally:
            with self._changed:
                if self._watch is watch:
                    self._watch = None
                self._changed.notify_all()

    def _is_wanted(self, watch: Watch) -> bool:
        with self._changed:
            if not self._listeners or not self._alive():
                self._watch = None  # in the same breath: whoever comes now begins a new one
            return self._watch is watch

    def _publish(self, bulletin: Bulletin) -> None:
        with self._changed:
            self._latest = bulletin
            for item in bulletin.items:
                self._number += 1
                self._news.append((self._number, item))
            self._changed.notify_all()
