"""How a benchmark is asked, and what a sampler hands in: the two halves of an evaluation shard.

`ResponseSettings` comes to the sampler with the shard, `ItemResponses` go back with its report.
"""

import attrs


@attrs.frozen(kw_only=True)
class ResponseSettings:
    """How responses to the items of a benchmark are sampled and graded, from `BenchmarkSettings`.

    `grader` is the reward component that gives at least 1 to a correct response. `max_tokens` 0
    means as many as in training; `system` ``""`` means the system message of the run.
    """

    grader: str
    samples: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    system: str


@attrs.frozen(kw_only=True)
class ItemResponses:
    """The responses to one item, each with whether it is correct, its length in tokens and its
    finish reason; `reason` says why there are none or why they could not be graded, ``""`` else.
    """

    texts: tuple[str, ...]
    correct: tuple[bool, ...]
    tokens: tuple[int, ...]
    finish_reasons: tuple[str, ...]
    reason: str = ""

    @classmethod
    def without(cls, samples: int, reason: str) -> "ItemResponses":
        """Return `samples` wrong responses to an item that could not be asked, for `reason`."""
        return cls(
            texts=("",) * samples,
            correct=(False,) * samples,
            tokens=(0,) * samples,
            finish_reasons=("error",) * samples,
            reason=reason,
        )

    def counts(self) -> set[int]:
        """Return how many responses the lists have; one number, where they fit together."""
        lists = (self.texts, self.correct, self.tokens, self.finish_reasons)
        return {len(values) for values in lists}
