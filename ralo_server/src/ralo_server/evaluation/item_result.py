"""`ItemResult`: all responses to one item of a benchmark, graded.

The functions of metrics read it, those of the user's own as well.
"""

import attrs

from ralo_core.data import Problem


@attrs.frozen(kw_only=True)
class ItemResult:
    """The responses to `problem` in the order they were drawn; entry i of each tuple is of
    response i.

    `predictions` is what the benchmark takes out of each ("" for nothing), `correct` what the
    grader said, `texts` the whole responses; `reference` is the problem's answer as a prediction is
    written. Raises `ValueError` where they are not equally many, or none.
    """

    problem: Problem
    reference: str
    predictions: tuple[str, ...]
    correct: tuple[bool, ...]
    texts: tuple[str, ...]

    def __attrs_post_init__(self) -> None:
        counts = {len(self.predictions), len(self.correct), len(self.texts)}
        if len(counts) > 1 or 0 in counts:
            msg = (
                f"item {self.problem.id!r} has {len(self.predictions)} predictions, "
                f"{len(self.correct)} verdicts and {len(self.texts)} texts; each response has one"
            )
            raise ValueError(msg)
