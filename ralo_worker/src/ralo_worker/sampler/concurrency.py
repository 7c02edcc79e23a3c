"""How many problems to sample at once, so that the engine is full and trees do not age in a queue.

This is arithmetic without clock, engine or server. A tree begins with few requests and has many
later, so the number of requests in flight now says little about the next minutes. What counts is
the average number of requests that a problem has in flight over its whole life, its *demand*.
The engine is full with ``capacity / demand`` problems; some more are sampled, because a free place
should be taken at once.

The demand is known only after whole lives have been seen. Until then the number of problems grows
by one with each that is done, which doubles it with every generation of problems. No problem is
leased while the engine has more requests than it can hold: a lease that begins too early makes an
older tree, and another sampler could have had the problem.
"""

import math

import attrs

FULL = 1.25
"""Requests in flight for each that fits: a quarter waits to take the places that get free."""
FIRST_PROBLEMS = 16
"""The demand of a problem as long as none has been seen to the end."""
_GENERATIONS = 2
"""The demand is averaged over so many times the problems that are sampled at once."""
_LEAST_FINISHING = 16
"""So many problems may always be scored or uploaded while others are sampled."""


@attrs.frozen(kw_only=True)
class Load:
    """What a sampler has in flight.

    `sampling` problems are being sampled, `finishing` ones are scored or uploaded. `asked` requests
    of these problems have no completion yet. `others` are requests of an evaluation in the engine.
    """

    sampling: int
    finishing: int
    asked: int
    others: int = 0


@attrs.define
class ConcurrencyController:
    """Decides for an engine that decodes `capacity` requests at once.

    `fixed` is the number of problems in flight that the user has chosen; 0: as many as fill the
    engine.
    """

    capacity: int
    fixed: int = 0
    _request_seconds: float = attrs.field(default=0.0, init=False)
    _problem_seconds: float = attrs.field(default=0.0, init=False)
    _finished: int = attrs.field(default=0, init=False)

    def passed(self, seconds: float, load: Load) -> None:
        """Record that `load` was in flight for `seconds`."""
        self._request_seconds += seconds * load.asked
        self._problem_seconds += seconds * load.sampling

    def finished(self, load: Load) -> None:
        """Record that the sampling of a problem has ended, with `load` left."""
        self._finished += 1
        kept = 1.0 - 1.0 / (_GENERATIONS * (load.sampling + 1))
        self._request_seconds *= kept
        self._problem_seconds *= kept

    def wanted(self, load: Load) -> int:
        """Return how many problems to lease now."""
        if self.fixed:
            return max(0, self.fixed - load.sampling - load.finishing)
        if load.finishing > max(load.sampling, _LEAST_FINISHING):
            return 0  # scoring or the way to the server is behind: more would wait there
        if not self._problem_seconds and not load.sampling:
            return 1  # the first one tells how many requests a problem begins with
        demand = self.demand(load)
        missing = FULL * self.capacity - load.asked - load.others
        return max(0, min(self.most(demand) - load.sampling, math.ceil(missing / demand)))

    def demand(self, load: Load) -> float:
        """Return the requests that a problem has in flight on average, at least 1."""
        if self._problem_seconds:
            return max(1.0, self._request_seconds / self._problem_seconds)
        return max(1.0, load.asked / max(1, load.sampling))

    def most(self, demand: float) -> int:
        """Return how many problems may be in sampling if each has `demand` requests."""
        seen = max(1, self.capacity // FIRST_PROBLEMS) + self._finished
        # One more than fills the engine: alone, a problem's last requests would leave it idle.
        return min(seen, math.ceil(FULL * self.capacity / demand) + 1)
