"""`BenchmarkSettings`: what every benchmark can be told, in ``[evaluators.<name>]``.

Neighbours: the config class of a benchmark inherits from it and adds its own options and defaults.
The orchestrator makes evaluation jobs of it; metrics are computed by `ralo_server.evaluation`.
"""

import attrs

from ralo_core.config.checks import at_least, positive
from ralo_core.config.setting import setting


@attrs.frozen(kw_only=True)
class BenchmarkSettings:
    """``[evaluators.<name>]``: how answers are drawn, how often, and what is computed of them."""

    samples: int = setting(1, "answers drawn for each item", positive)
    temperature: float = setting(
        0.0, "softmax temperature of answers; 0: the most probable token always", at_least(0)
    )
    top_p: float = setting(1.0, "keep the smallest set with this probability; 1: all", positive)
    top_k: int = setting(0, "keep this many most probable tokens; 0: all", at_least(0))
    max_tokens: int = setting(
        0,
        "tokens of an answer at most, within the model's context; 0: as many as in training",
        at_least(0),
    )
    metrics: list[str] = setting(
        ["accuracy"],
        "what is computed: 'accuracy', 'mean@k', 'pass@k', 'maj@k' with a number or the letter k "
        "(all samples), 'exact_match', 'multiple_choice', 'module:function'",
    )
    every_steps: int = setting(
        -1,
        "evaluate the version of every so many steps, and always the first and the last; 0: these "
        "only; -1: as evaluation.every_steps",
        at_least(-1),
    )
    limit: int = setting(0, "items at most; 0: all", at_least(0))
    seed: int = setting(0, "seed of what is drawn: items, order of choices, bootstrap")
    system: str = setting("", "system message put before an item; empty: that of the run")
    shard_items: int = setting(
        0,
        "items that a sampler is given at a time; 0: so many that they have about 64 answers",
        at_least(0),
    )
