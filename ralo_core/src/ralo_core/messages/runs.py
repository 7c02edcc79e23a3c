"""The runs whose directories lie beside each other."""

import attrs


@attrs.frozen(kw_only=True)
class SiblingRun:
    """A run in a few numbers.

    `name` is that of its directory; `version` is -1 before the first; `reward` is of the last step,
    `accuracy` of the last evaluation; `current` says whether it is the one that replies.
    """

    name: str
    path: str
    recipe: str
    state: str
    step: int
    version: int
    reward: float | None
    accuracy: float | None
    current: bool


@attrs.frozen(kw_only=True)
class SiblingRuns:
    """Reply of ``GET /runs``."""

    runs: tuple[SiblingRun, ...]
