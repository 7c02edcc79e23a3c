"""Who is killed next: drawn from a seed, so that a run can be repeated as far as time allows."""

import random
from collections import Counter

_SHARES = {
    "sampler": 40,
    "trainer": 30,
    "learner": 11,
    "web worker": 12,
    "web master": 5,
    "serve": 2,
}


class Killer:
    """Kills parts of `orchestrator` and members of `crew`; `counts` says whom how often."""

    def __init__(self, orchestrator, crew, seed):
        self.dice, self.counts = random.Random(seed), Counter()
        self._orchestrator, self._crew = orchestrator, crew

    def kill_one(self):
        """Kill somebody with -9; only who lived counts."""
        (victim,) = self.dice.choices(list(_SHARES), _SHARES.values())
        if victim in ("sampler", "trainer"):
            self._crew.kill(victim, self.dice)
            self.counts[victim] += 1
        elif self._orchestrator.kill(victim):
            self.counts[victim] += 1
