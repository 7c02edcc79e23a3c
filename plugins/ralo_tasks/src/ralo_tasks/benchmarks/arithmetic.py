"""``[benchmarks] pipeline = ["arithmetic"]``: sums of the embedded task that nobody trains on.

`ralo_tasks.arithmetic` holds out a tenth of all sums by their hash, for every seed and every run.
These items are drawn from that tenth, so training cannot have seen one.
"""

import attrs

from ralo_core import (
    BenchmarkSettings,
    BuildContext,
    DataError,
    Problem,
    at_least,
    positive,
    setting,
)
from ralo_tasks.arithmetic import ArithmeticSettings, held_out_problems


@attrs.frozen(kw_only=True)
class ArithmeticBenchmarkSettings(BenchmarkSettings):
    """``[benchmarks.arithmetic]``: how many sums, how long and how large."""

    count: int = setting(200, "sums to draw; there may be fewer of small ones", positive)
    terms_min: int = setting(3, "fewest numbers in a sum", at_least(2))
    terms_max: int = setting(3, "most numbers in a sum", at_least(2))
    digits_min: int = setting(2, "fewest digits of its numbers", at_least(1))
    digits_max: int = setting(2, "most digits of its numbers", at_least(1))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.sums()

    def sums(self) -> ArithmeticSettings:
        """Return the generator's settings; raises `ValueError` for a range without a number."""
        return ArithmeticSettings(
            terms_min=self.terms_min,
            terms_max=self.terms_max,
            digits_min=self.digits_min,
            digits_max=self.digits_max,
        )


class ArithmeticBenchmark:
    """Held-out sums, graded by the number behind the last ``#``, as in training."""

    grader = "arithmetic"

    def __init__(self, settings: ArithmeticBenchmarkSettings, context: BuildContext) -> None:
        self.settings = settings

    def items(self) -> list[Problem]:
        """Return distinct sums, the same for a seed."""
        settings = self.settings
        items = held_out_problems(settings.sums(), settings.count, f"benchmark {settings.seed}")
        if not items:
            msg = "benchmarks.arithmetic: no sum of these sizes is held out; allow larger ones"
            raise DataError(msg)
        numbered = (attrs.evolve(item, id=f"sum-{n}") for n, item in enumerate(items))
        return settings.chosen(list(numbered))

    def prediction(self, problem: Problem, text: str) -> str:
        """Return what is behind the last ``#``, "" where there is none."""
        _, mark, tail = text.rpartition("#")
        return tail.strip() if mark else ""

    def reference(self, problem: Problem) -> str:
        """Return the sum."""
        return problem.answer
