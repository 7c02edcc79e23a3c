"""An engine and its problems without time or tokens: one tick is one decoding step.

A real `ConcurrencyController` decides how many problems are begun.
"""

from collections import deque

import attrs

from ralo_worker.sampler.concurrency import ConcurrencyController, Load


@attrs.define(eq=False)
class Problem:
    """Rounds of requests, one after the other; a round is the lengths of its requests in tokens."""

    rounds: deque
    open: int = 0


@attrs.define
class Simulation:
    """`make` gives the rounds of the next problem; `room` is how many problems the orchestrator
    hands out at most at once; a problem takes `scoring` ticks after its last round."""

    concurrency: ConcurrencyController
    make: object
    room: int = 10**6
    scoring: int = 0
    waiting: deque = attrs.field(factory=deque, init=False)
    running: list = attrs.field(factory=list, init=False)
    sampling: list = attrs.field(factory=list, init=False)
    finishing: list = attrs.field(factory=list, init=False)
    done: int = attrs.field(default=0, init=False)

    @property
    def load(self):
        asked = len(self.waiting) + len(self.running)
        return Load(sampling=len(self.sampling), finishing=len(self.finishing), asked=asked)

    def ticks(self, count):
        """Go on; return the requests running and under way, and the problems, at each tick."""
        return [self.tick() for _ in range(count)]

    def tick(self):
        self._lease()
        while self.waiting and len(self.running) < self.concurrency.capacity:
            self.running.append(self.waiting.popleft())
        seen = (len(self.running), self.load.asked, len(self.sampling) + len(self.finishing))
        self.concurrency.passed(1.0, self.load)
        self._decode()
        self.finishing = [left - 1 for left in self.finishing if left > 1]
        return seen

    def _lease(self):
        """Ask as the sampler does: again and again, each time with what has begun since."""
        for _ in range(1000):
            left = self.room - len(self.sampling) - len(self.finishing)
            wanted = min(self.concurrency.wanted(self.load), left)
            if wanted <= 0:
                return
            for _ in range(wanted):
                problem = Problem(deque(self.make()))
                self.sampling.append(problem)
                self._begin_round(problem)
        raise AssertionError("it never has enough")

    def _begin_round(self, problem):
        lengths = problem.rounds.popleft()
        problem.open = len(lengths)
        self.waiting.extend([problem, length] for length in lengths)

    def _decode(self):
        for request in self.running:
            request[1] -= 1
        ended = [problem for problem, left in self.running if left == 0]
        self.running = [request for request in self.running if request[1] > 0]
        for problem in ended:
            problem.open -= 1
            if problem.open == 0:
                self._end_round(problem)

    def _end_round(self, problem):
        if problem.rounds:
            self._begin_round(problem)
            return
        self.sampling.remove(problem)
        self.done += 1
        if self.scoring:
            self.finishing.append(self.scoring)
        self.concurrency.finished(self.load)
