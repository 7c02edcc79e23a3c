"""What a worker says about its engine and its weights with every heartbeat.

``/stats`` and the views of a run show them. Nothing is decided by them.
"""

import attrs


@attrs.frozen(kw_only=True)
class EngineReport:
    """How an inference engine is used.

    `capacity` requests fit, `running` and `waiting` are those of just now. Over the last seconds:
    `tokens_per_second` decoded, `utilisation` the mean of running over capacity, `cache_hits` the
    share of prompt tokens whose keys and values were there. Since the start: `decoded_tokens`,
    `prompt_tokens`, `cached_tokens`.
    """

    capacity: int
    running: int
    waiting: int
    tokens_per_second: float
    utilisation: float
    cache_hits: float
    decoded_tokens: int
    prompt_tokens: int
    cached_tokens: int


@attrs.frozen(kw_only=True)
class VersionDelay:
    """Where the seconds went between the commit of weight version `version` and its first token.

    `notice`: until the worker heard of it; `staging`: until its files lay verified on the machine;
    `activation`: until the engine had taken it, between two of its steps and after an evaluation
    of the version before; `first_token`: until it had decoded one more, which takes an engine that
    has no requests as long as it has none.
    """

    version: int
    notice: float
    staging: float
    activation: float
    first_token: float

    @property
    def total(self) -> float:
        """Seconds from commit to first token."""
        return self.notice + self.staging + self.activation + self.first_token


@attrs.frozen(kw_only=True)
class WeightsReport:
    """What new weights cost a worker since its start.

    `bytes` came over the network, `staging_seconds` were spent on bringing and verifying them,
    while work went on; in `activations` swaps work stood still for `pause_seconds`, the last time
    for `last_pause_seconds`. `last` is the newest version that a token was decoded with.
    """

    bytes: int = 0
    staging_seconds: float = 0.0
    activations: int = 0
    pause_seconds: float = 0.0
    last_pause_seconds: float = 0.0
    last: VersionDelay | None = None
