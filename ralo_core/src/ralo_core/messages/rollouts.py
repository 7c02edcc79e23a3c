"""Rollout trees for those who look at what the policy wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_core.data.problem import Message


@attrs.frozen(kw_only=True)
class RolloutSummary:
    """A tree in a few numbers.

    `prompt` is its beginning; `step` the step that took the tree, None before; `version` the one
    that wrote its oldest segment; `reward` the mean over leaves, `solved` the share of leaves whose
    first reward is at least 1; `depth` the most segments on the path of a leaf; `time` unix seconds
    of its upload, 0 where not known. What an older server did not count is None.
    """

    number: int
    problem_id: str
    prompt: str
    step: int | None
    version: int
    leaves: int
    reward: float
    solved: float | None
    tokens: int
    depth: int | None
    state: str
    time: float


@attrs.frozen(kw_only=True)
class RolloutSummaries:
    """Reply of ``GET /rollouts``."""

    rollouts: tuple[RolloutSummary, ...]


@attrs.frozen(kw_only=True)
class RolloutProblem:
    """The problem of a tree; `answer` is the reference answer. Empty where it is not known."""

    id: str
    prompt: str | Sequence[Message]
    answer: str
    metadata: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class RolloutSegment:
    """A segment: `parent` is an index, -1 for the prompt; `tokens` are how many it has.

    `logprob` is the mean over its tokens. `pieces` are the text of each token; of several that make
    a character, the last has it. `advantage` is the mean over the leaves below, by the run's
    estimator on this tree alone.
    """

    index: int
    parent: int
    version: int
    tokens: int
    text: str
    logprob: float | None
    logprobs: Sequence[float]
    pieces: Sequence[str]
    advantage: float | None


@attrs.frozen(kw_only=True)
class RolloutLeaf:
    """The end of a rollout in the segment of this index, with its reward and the parts of it."""

    segment: int
    finish_reason: str
    reward: float
    rewards: Mapping[str, float]
    tokens: int


@attrs.frozen(kw_only=True)
class Rollout:
    """Reply of ``GET /rollouts/{number}``: a whole tree.

    `prompt` is what the policy was given, as text. In `segments` a parent stands before its
    children.
    """

    number: int
    problem: RolloutProblem
    prompt: str
    prompt_tokens: int
    version: int
    step: int | None
    temperature: float
    segments: tuple[RolloutSegment, ...]
    leaves: tuple[RolloutLeaf, ...]
