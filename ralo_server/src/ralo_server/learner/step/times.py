"""Where the seconds of an optimizer step go.

Parts lie within each other: while a version is published it asks for slice after slice of the new
weights, and each of them is aggregated, clipped and stepped then.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs

AGGREGATE, CLIP, STEP, PUBLISH = "aggregate", "clip", "step", "publish"


@attrs.define
class StepTimes:
    """Seconds by part; those of a part within another count for the inner one alone."""

    _seconds: dict[str, float] = attrs.field(factory=lambda: defaultdict(float), init=False)
    _open: list[str] = attrs.field(factory=list, init=False)
    _since: float = attrs.field(default=0.0, init=False)

    @property
    def seconds(self) -> Mapping[str, float]:
        """The seconds so far, by part."""
        return dict(self._seconds)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block for `name`."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def _book(self) -> None:
        now = time.monotonic()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now
