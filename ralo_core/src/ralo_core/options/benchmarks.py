"""`BenchmarkSettings`: the options of every benchmark, in ``[benchmarks.<name>]``.

The settings class of a benchmark inherits from it and adds its own options and defaults. The
orchestrator makes evaluation shards of it and computes the metrics.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import attrs

from ralo_core.options.checks import at_least, positive
from ralo_core.options.metric_names import metric_names, parse_metric
from ralo_core.options.setting import setting

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class BenchmarkSettings:
    """``[benchmarks.<name>]``: how responses are drawn, how many, and what is computed of them."""

    samples: int = setting(1, "responses drawn for each item", positive)
    temperature: float = setting(
        0.0, "softmax temperature of responses; 0: the most probable token always", at_least(0)
    )
    top_p: float = setting(1.0, "keep the smallest set with this probability; 1: all", positive)
    top_k: int = setting(0, "keep this many most probable tokens; 0: all", at_least(0))
    max_tokens: int = setting(
        0,
        "tokens of a response at most, within the model's context; 0: as many as in training",
        at_least(0),
    )
    metrics: list[str] = setting(
        ["accuracy"],
        "what is computed: 'accuracy', 'mean@k', 'pass@k', 'maj@k' with a number or the letter k "
        "(all samples), 'exact_match', 'multiple_choice', 'module:function'",
        metric_names,
    )
    every_steps: int = setting(
        -1,
        "evaluate the version of every so many steps, and always the first and the last; 0: these "
        "only; -1: as evaluation.every_steps",
        at_least(-1),
    )
    limit: int = setting(0, "items at most, drawn by the seed; 0: all", at_least(0))
    seed: int = setting(0, "seed of what is drawn: items, order of choices, bootstrap")
    system: str = setting("", "system message put before an item; empty: that of the run")
    shard_items: int = setting(
        0,
        "items that a sampler is given at a time; 0: so many that they have about 64 responses",
        at_least(0),
    )

    def chosen(self, items: Sequence[T]) -> list[T]:
        """Return `limit` of the items, drawn by `seed`, in their order; all where it is 0.

        Drawn, for published sets are sorted by subject or year; choosing twice changes nothing.
        """
        if not self.limit or self.limit >= len(items):
            return list(items)
        random = Random(f"items {self.seed}")  # noqa: S311 (items need no secrecy)
        return [items[index] for index in sorted(random.sample(range(len(items)), self.limit))]

    def __attrs_post_init__(self) -> None:
        if self.samples > 1 and self.temperature == 0:
            msg = (
                f"samples: {self.samples} responses at temperature 0 would all be the same; set "
                "temperature, too, or samples = 1"
            )
            raise ValueError(msg)
        for name in self.metrics:
            try:
                parse_metric(name).of(self.samples)
            except ValueError as error:
                msg = f"metrics: {error}"
                raise ValueError(msg) from None
