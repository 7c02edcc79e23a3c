"""How a benchmark is answered, and what a sampler hands in: the two halves of an evaluation job.

Neighbours: the orchestrator makes `ResponseSettings` of a benchmark's settings, ``/eval/job/claim``
carries it to a sampler, which returns `ItemResponses` with ``/eval/job/report``.
"""

import attrs


@attrs.frozen(kw_only=True)
class ResponseSettings:
    """How the items of a benchmark are answered and judged, as `BenchmarkSettings` has it.

    `judge` is the reward component that gives at least 1 to a correct answer. `max_tokens` 0
    means as many as in training; `system` ``""`` means the system message of the run.
    """

    judge: str
    samples: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    system: str


@attrs.frozen(kw_only=True)
class ItemResponses:
    """The answers to one item, each with whether it is correct, its length in tokens and its
    finish reason; `reason` says why there are none or why they could not be judged, ``""`` else.
    """

    texts: tuple[str, ...]
    correct: tuple[bool, ...]
    tokens: tuple[int, ...]
    finish_reasons: tuple[str, ...]
    reason: str = ""

    @classmethod
    def without(cls, samples: int, reason: str) -> "ItemResponses":
        """Return `samples` wrong answers to an item that could not be asked, for `reason`."""
        return cls(
            texts=("",) * samples,
            correct=(False,) * samples,
            tokens=(0,) * samples,
            finish_reasons=("error",) * samples,
            reason=reason,
        )

    def counts(self) -> set[int]:
        """Return how many answers the lists have; one number, where they fit together."""
        lists = (self.texts, self.correct, self.tokens, self.finish_reasons)
        return {len(values) for values in lists}
