"""The score of one item under each metric, in [0, 1]; a metric is the mean of it over the items.

Every function sees one item.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from ralo_core.texts import letter_of, normalised
from ralo_server.evaluation.item_result import ItemResult


def mean_correct(item: ItemResult, k: int) -> float:
    """Return the share of the first `k` responses that are correct."""
    return fmean(item.correct[:k])


def pass_at(item: ItemResult, k: int) -> float:
    """Return the probability that `k` of the n responses, drawn without repetition, have a correct
    one: ``1 - C(n - c, k) / C(n, k)`` with c correct ones.

    Unbiased for any n >= k (Chen et al. 2021, equation 1); their product instead of the quotient
    of binomials, which overflows.
    """
    responses, correct = len(item.correct), sum(item.correct)
    if responses - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(responses - correct + 1, responses + 1))


def majority(item: ItemResult, k: int) -> float:
    """Return whether the prediction that most of the first `k` responses have is correct.

    Between predictions with equally many votes the lot decides, so the mean over them is
    returned. Responses without a prediction have no vote, unless all of the `k` are so. Where the
    grader does not agree with itself on a prediction, its share of correct responses counts.
    """
    verdicts: dict[str, list[bool]] = {}
    for prediction, correct in zip(item.predictions[:k], item.correct[:k], strict=True):
        verdicts.setdefault(prediction, []).append(correct)
    if len(verdicts) > 1:
        verdicts.pop("", None)
    most = max(map(len, verdicts.values()))
    return fmean(fmean(group) for group in verdicts.values() if len(group) == most)


def exact_match(item: ItemResult, k: int) -> float:
    """Return whether the first prediction is the reference, but for case, spacing and marks."""
    return float(normalised(item.predictions[0]) == normalised(item.reference))


def multiple_choice(item: ItemResult, k: int) -> float:
    """Return whether the first prediction is the letter of the reference."""
    letter = letter_of(item.reference)
    return float(letter is not None and letter_of(item.predictions[0]) == letter)


def common_samples(results: Sequence[ItemResult]) -> int:
    """Return how many responses every item has; raises `ValueError` where they differ, or for no
    items at all."""
    counts = Counter(len(item.correct) for item in results)
    if len(counts) != 1:
        found = ", ".join(map(str, sorted(counts))) or "no items"
        msg = f"metrics need the same number of responses to every item, got {found}"
        raise ValueError(msg)
    return next(iter(counts))
