"""How a round's width is shared among the live paths: evenly, by log-probs, or by entropies.

    weights = softmax(s (x_i - min x) / tau),   s = -1 for 'low', +1 for 'high'

with x_i the log-prob of path i (paper section 4.4, which found none of these to beat the even
split), or minus the mean entropy H of the policy over the tokens of its last segment (ours). 'low'
is the split towards uncertain paths by either: the mean log-prob of a segment estimates -H from one
sample, 'entropy' knows it.
"""

import math
from collections.abc import Sequence

from ralo_treepo.budget import split_by_weight, split_evenly
from ralo_treepo.path import Path
from ralo_treepo.settings import TreeSamplerSettings


def copies(
    total: int, paths: Sequence[Path], settings: TreeSamplerSettings, version: int
) -> list[int]:
    """Return how often each of `paths` goes on, at least once each, `total` in all.

    `version` is the weight version, which is what a temperature schedule goes by.
    """
    if settings.split == "even":
        return split_evenly(total, len(paths))
    sign = -1.0 if settings.split_prefer == "low" else 1.0
    temperature = temperature_at(settings, version)
    scores = [sign * _score(path, settings) / temperature for path in paths]
    return split_by_weight(total, softmax(scores))


def softmax(scores: Sequence[float]) -> list[float]:
    """Return ``exp(score) / sum``, without overflow."""
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    return [power / sum(powers) for power in powers]


def temperature_at(settings: TreeSamplerSettings, version: int) -> float:
    """Return the softmax temperature at a weight version, constant after `split_versions`."""
    start, end = settings.split_temperature, settings.split_temperature_end or None
    if end is None:
        return start
    done = min(version / settings.split_versions, 1.0)
    if settings.split_schedule == "sinusoid":
        done = (1 + math.sin(math.pi * (done - 0.5))) / 2
    return start + (end - start) * done


def _score(path: Path, settings: TreeSamplerSettings) -> float:
    if settings.split == "entropy":
        return -path.segment_entropy
    if settings.split_score == "segment":
        return path.segment_logprob
    return path.logprob / path.tokens if settings.split_score == "mean" else path.logprob
