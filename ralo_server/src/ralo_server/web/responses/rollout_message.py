"""A stored rollout tree as the reply of ``/rollouts/{number}``, with texts and advantages."""

from typing import Any

import numpy as np

from ralo_core.data import RolloutTree
from ralo_core.data.tree import PROMPT
from ralo_core.messages.rollouts import Rollout, RolloutLeaf, RolloutProblem, RolloutSegment
from ralo_server.store.views.rollouts import StoredRollout
from ralo_server.web.responses.advantages import Advantages
from ralo_server.web.responses.token_texts import TokenTexts

_DIGITS = 4


def rollout_message(stored: StoredRollout, texts: TokenTexts, advantages: Advantages) -> Rollout:
    """Return the problem, segments in topological order, and leaves of a tree."""
    tree, problem = stored.tree, stored.problem
    return Rollout(
        number=stored.number,
        problem=RolloutProblem(
            id=tree.problem_id,
            prompt=problem.get("prompt", ""),
            answer=problem.get("answer", ""),
            metadata=problem.get("metadata", {}),
        ),
        prompt="".join(texts.pieces(tree.prompt.tolist())),
        prompt_tokens=len(tree.prompt),
        version=int(tree.versions.min()),
        step=stored.step,
        temperature=tree.temperature,
        segments=tuple(_segments(tree, texts, advantages)),
        leaves=tuple(_leaves(tree)),
    )


def _segments(tree: RolloutTree, texts: TokenTexts, advantages: Advantages) -> list[RolloutSegment]:
    segments = []
    for index, advantage in enumerate(advantages.of_segments(tree)):
        logprobs = tree.logprobs[tree.segment(index)].astype(np.float64)
        parent = int(tree.parents[index])
        before = tree.prompt if parent == PROMPT else tree.tokens[tree.segment(parent)]
        pieces = texts.pieces(tree.tokens[tree.segment(index)].tolist(), before.tolist())
        segments.append(
            RolloutSegment(
                index=index,
                parent=parent,
                version=int(tree.versions[index]),
                tokens=len(logprobs),
                text="".join(pieces),
                logprob=_rounded(logprobs.mean()) if len(logprobs) else None,
                logprobs=[_rounded(value) for value in logprobs],
                pieces=pieces,
                advantage=None if advantage is None else _rounded(advantage),
            )
        )
    return segments


def _leaves(tree: RolloutTree) -> list[RolloutLeaf]:
    lengths = tree.response_lengths()
    return [
        RolloutLeaf(
            segment=int(tree.leaves[leaf]),
            finish_reason=tree.finish_reasons[leaf],
            reward=_rounded(tree.rewards[leaf]),
            rewards={name: _rounded(part[leaf]) for name, part in tree.reward_parts.items()},
            tokens=int(lengths[leaf]),
        )
        for leaf in range(len(tree.leaves))
    ]


def _rounded(value: Any) -> float:
    return round(float(value), _DIGITS)
