"""How many problems to work on at once, so that the engine is full and no tree grows old waiting.

Neighbours: `runtime` tells what is under way and asks how many problems to lease. Pure arithmetic:
no clock, no engine, no server.

A tree asks for few requests at first and for many later, so the load of now says little. What
counts is how many requests a problem has under way on average over its life: the number of
problems that fills the engine is the capacity over that, and a little more, for a place is to be
taken again at once. Until whole lives have been seen, the number grows by one with every problem
that is done, which doubles it in a generation of problems. Nothing is leased while the engine has
more than it can do: a lease begun earlier than needed makes an older tree, and another sampler
could have had it.
"""

import math

import attrs

FULL = 1.25
"""Requests under way for each that fits: a quarter waits to take the places that get free."""
FIRST_PROBLEMS = 16
"""The first guess is that a problem has so many requests under way."""
_GENERATIONS = 2
"""The mean life of a problem is taken over so many times the problems under way."""
_LEAST_FINISHING = 16
"""Problems that may be scored and uploaded while others are sampled, at least."""


@attrs.frozen(kw_only=True)
class Load:
    """What a sampler has under way: problems in `sampling` and those `finishing` (being scored or
    uploaded); requests of these that the engine has not answered, `asked`; and `others`."""

    sampling: int
    finishing: int
    asked: int
    others: int = 0


@attrs.define
class ConcurrencyController:
    """Decides for an engine of `capacity` requests; `fixed` problems at once, 0: as many as fill
    it."""

    capacity: int
    fixed: int = 0
    _request_seconds: float = attrs.field(default=0.0, init=False)
    _problem_seconds: float = attrs.field(default=0.0, init=False)
    _finished: int = attrs.field(default=0, init=False)

    def passed(self, seconds: float, load: Load) -> None:
        """Note that `load` was under way for `seconds`."""
        self._request_seconds += seconds * load.asked
        self._problem_seconds += seconds * load.sampling

    def finished(self, load: Load) -> None:
        """Note that the sampling of a problem has ended, with `load` left."""
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
        """Return the requests that a problem has under way on average, at least 1."""
        if self._problem_seconds:
            return max(1.0, self._request_seconds / self._problem_seconds)
        return max(1.0, load.asked / max(1, load.sampling))

    def most(self, demand: float) -> int:
        """Return how many problems may be in sampling if each has `demand` requests."""
        seen = max(1, self.capacity // FIRST_PROBLEMS) + self._finished
        # One more than fills the engine: alone, a problem's last requests would leave it idle.
        return min(seen, math.ceil(FULL * self.capacity / demand) + 1)
