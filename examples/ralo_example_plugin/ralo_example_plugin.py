from itertools import count, islice
from ralo_core import Component, Problem, hookimpl

class Backwards:
    """Numbers to be written backwards; the multiples of ten are held out."""
    def __init__(self, settings, context): self.next = 0
    def __iter__(self):
        while True:
            self.next += 1 + (self.next % 10 == 9)
            yield self.problem(self.next)
    def problem(self, n): return Problem(id=f"back-{n}", prompt=str(n), answer=str(n)[::-1])
    def state(self): return {"next": self.next}
    def restore(self, state): self.next = state["next"]
    def held_out(self, amount): return [self.problem(n) for n in islice(count(10, 10), amount)]

class Overlap:
    """The share of characters that stand at the right place."""
    def __init__(self, settings, context): pass
    def score(self, problem, responses):
        size = len(problem.answer)
        return [sum(map(str.__eq__, problem.answer, r.text)) / size for r in responses]

@hookimpl
def ralo_register_problem_providers(): return [Component(name="backwards", factory=Backwards)]
@hookimpl
def ralo_register_rewards(): return [Component(name="overlap", factory=Overlap)]
