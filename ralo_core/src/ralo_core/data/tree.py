"""`RolloutTree`: all rollouts of one problem, a shared prefix stored once.

Sampling algorithms build it with `TreeBuilder`; it is the one form of rollouts from there to the
loss. The group of GRPO is a tree of depth one. It is numpy only, so that the server needs no model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core.errors import DataError

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

PROMPT = -1
"""The parent index of a segment that follows the prompt directly."""


@attrs.frozen(kw_only=True, eq=False)
class RolloutTree:
    """Segments in topological order (a parent stands before its children) and their leaves.

    With S segments, N tokens in all segments together and L leaves:

    - `prompt` int32[P]: token ids of the prompt;
    - `parents` int32[S]: index of the parent segment, `PROMPT` for the prompt;
    - `offsets` int32[S+1]: segment i holds tokens ``offsets[i]:offsets[i+1]``;
    - `tokens` int32[N], `logprobs` float32[N]: sampled tokens and their behaviour log-probs,
      that is under the very distribution they were drawn from (nats, temperature included);
    - `versions` int32[S]: the weight version that wrote each segment;
    - `leaves` int32[L]: the last segment of each complete rollout;
    - `finish_reasons`: one word per leaf (``eos``, ``length``, ``boxed``, ...);
    - `rewards` float32[L]: the total reward of each leaf, zeros until it is scored;
    - `reward_parts`: float32[L] per reward component;
    - `temperature`: the sampling temperature of every segment;
    - `metadata`: JSON-able values for diagnostics (timings, counts).
    """

    problem_id: str
    lease_id: str
    prompt: Int32
    parents: Int32
    offsets: Int32
    tokens: Int32
    logprobs: Float32
    versions: Int32
    leaves: Int32
    finish_reasons: tuple[str, ...]
    rewards: Float32
    reward_parts: Mapping[str, Float32] = attrs.field(factory=dict)
    temperature: float = 1.0
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    def path(self, leaf: int) -> list[int]:
        """Return the segment indices from the prompt down to leaf number `leaf`."""
        node = int(self.leaves[leaf])
        path = []
        while node != PROMPT:
            path.append(node)
            node = int(self.parents[node])
        return path[::-1]

    def segment(self, index: int) -> slice:
        """Return the slice of `tokens` and `logprobs` that segment `index` owns."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def leaf_tokens(self, leaf: int) -> Int32:
        """Return the response of a leaf, int32[response length]."""
        return np.concatenate([self.tokens[self.segment(i)] for i in self.path(leaf)])

    def leaf_logprobs(self, leaf: int) -> Float32:
        """Return the behaviour log-probs of a leaf's response, float32[response length]."""
        return np.concatenate([self.logprobs[self.segment(i)] for i in self.path(leaf)])

    def response_lengths(self) -> npt.NDArray[np.int64]:
        """Return the response length of every leaf in tokens, int64[L]."""
        sizes = np.append(np.diff(self.offsets), 0).astype(np.int64)  # the last is the prompt's
        nodes, lengths = self.leaves, np.zeros(len(self.leaves), np.int64)
        while (nodes != PROMPT).any():
            lengths += sizes[nodes]
            nodes = np.where(nodes == PROMPT, PROMPT, self.parents[nodes])
        return lengths

    def validate(self) -> "RolloutTree":
        """Return the tree itself, or raise `DataError` naming the first field that is wrong."""
        segments, leaves = len(self.parents), len(self.leaves)
        checks = {
            "prompt is empty": len(self.prompt) > 0,
            "there is no leaf": leaves > 0,
            "offsets do not have one entry more than parents": len(self.offsets) == segments + 1,
            "versions do not have one entry per segment": len(self.versions) == segments,
            "logprobs do not have one entry per token": len(self.logprobs) == len(self.tokens),
            "rewards do not have one entry per leaf": len(self.rewards) == leaves,
            "finish_reasons do not have one entry per leaf": len(self.finish_reasons) == leaves,
            "a reward part does not have one entry per leaf": all(
                len(part) == leaves for part in self.reward_parts.values()
            ),
        }
        _raise_first(self.problem_id, checks)
        order = np.arange(segments)
        _raise_first(
            self.problem_id,
            {
                "offsets do not run from 0 to the token count, never falling": self.offsets[0] == 0
                and self.offsets[-1] == len(self.tokens)
                and bool((np.diff(self.offsets) >= 0).all()),
                "a parent does not stand before its child": bool(
                    ((self.parents >= PROMPT) & (self.parents < order)).all()
                ),
                "a leaf is not a segment": bool(
                    ((self.leaves >= 0) & (self.leaves < segments)).all()
                ),
                "a logprob is not a finite number at most 0": bool(
                    (np.isfinite(self.logprobs) & (self.logprobs <= 1e-6)).all()
                ),
                "a reward is not finite": bool(np.isfinite(self.rewards).all()),
                "temperature is not positive": self.temperature > 0,
            },
        )
        return self

    def with_rewards(self, parts: Mapping[str, Float32], total: Float32) -> "RolloutTree":
        """Return a copy that carries the scores, each float32[L]."""
        return attrs.evolve(self, reward_parts=dict(parts), rewards=np.asarray(total, np.float32))


def _raise_first(problem_id: str, checks: Mapping[str, bool]) -> None:
    for complaint, fine in checks.items():
        if not fine:
            msg = f"rollout tree of problem {problem_id!r}: {complaint}"
            raise DataError(msg)


@attrs.define
class TreeBuilder:
    """Grow a `RolloutTree` segment by segment; the form a sampling algorithm works with."""

    problem_id: str
    prompt: Sequence[int]
    temperature: float = 1.0
    lease_id: str = ""
    _parents: list[int] = attrs.field(factory=list, init=False)
    _tokens: list[Int32] = attrs.field(factory=list, init=False)
    _logprobs: list[Float32] = attrs.field(factory=list, init=False)
    _versions: list[int] = attrs.field(factory=list, init=False)
    _leaves: list[int] = attrs.field(factory=list, init=False)
    _reasons: list[str] = attrs.field(factory=list, init=False)

    def add_segment(
        self, parent: int, tokens: npt.ArrayLike, logprobs: npt.ArrayLike, version: int
    ) -> int:
        """Append a segment below `parent` and return its index."""
        self._parents.append(parent)
        self._tokens.append(np.asarray(tokens, np.int32))
        self._logprobs.append(np.asarray(logprobs, np.float32))
        self._versions.append(version)
        return len(self._parents) - 1

    def add_leaf(self, segment: int, finish_reason: str) -> int:
        """Declare `segment` the end of a rollout and return the leaf's number."""
        self._leaves.append(segment)
        self._reasons.append(finish_reason)
        return len(self._leaves) - 1

    @property
    def leaf_count(self) -> int:
        """The number of complete rollouts so far."""
        return len(self._leaves)

    def parent(self, segment: int) -> int:
        """Return the parent index of `segment`."""
        return self._parents[segment]

    def response(self, segment: int) -> list[int]:
        """Return the token ids from the end of the prompt to the end of `segment`."""
        chain = []
        while segment != PROMPT:
            chain.append(self._tokens[segment])
            segment = self._parents[segment]
        return [int(token) for tokens in reversed(chain) for token in tokens]

    def build(self, metadata: Mapping[str, Any] | None = None) -> RolloutTree:
        """Return the validated tree, rewards still zero."""
        lengths = [len(tokens) for tokens in self._tokens]
        return RolloutTree(
            problem_id=self.problem_id,
            lease_id=self.lease_id,
            prompt=np.asarray(self.prompt, np.int32),
            parents=np.asarray(self._parents, np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            tokens=np.concatenate([*self._tokens, np.empty(0, np.int32)]).astype(np.int32),
            logprobs=np.concatenate([*self._logprobs, np.empty(0, np.float32)]),
            versions=np.asarray(self._versions, np.int32),
            leaves=np.asarray(self._leaves, np.int32),
            finish_reasons=tuple(self._reasons),
            rewards=np.zeros(len(self._leaves), np.float32),
            temperature=self.temperature,
            metadata=dict(metadata or {}),
        ).validate()
