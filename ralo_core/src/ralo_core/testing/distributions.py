"""Whether an engine draws from the distribution whose log-probs it reports.

One token is drawn many times from one prompt: how often each token came must fit its log-prob, and
the log-probs under different options must fit one another.
"""

import math
from collections import Counter

from ralo_core.data import GenerationRequest
from ralo_core.protocols import InferenceEngine

_DRAWS = 400
_FEWEST = 5.0
"""Draws that a token must be expected to get for a column of its own in the statistic."""
_SUM_TOLERANCE = 2e-3
_TOLERANCE = 0.05
"""Of log-probs that different batches computed, in bfloat16 too."""
_NUCLEUS = 0.5
_PROMPT = (3, 2)


async def check_distributions(engine: InferenceEngine) -> None:
    """Draw under each option, and compare."""
    plain = await _drawn(engine, temperature=1.0)
    cold = await _drawn(engine, temperature=0.5)
    few = await _drawn(engine, temperature=1.0, top_k=3)
    narrow = await _drawn(engine, temperature=1.0, top_p=_NUCLEUS)
    greedy = await _drawn(engine, temperature=0.0)
    assert len(greedy) == 1, "temperature 0 must always draw the same token"
    ((best, logprob),) = greedy.items()
    if best in plain:
        same = abs(logprob - plain[best]) < _TOLERANCE
        assert same, "at temperature 0 the log-prob must be that of the untempered distribution"
    assert len(few) <= 3, f"top_k 3 must leave 3 tokens, {len(few)} were drawn"
    _check_temperature(plain, cold)
    _share_kept(plain, few, "top_k")
    whole = abs(sum(map(math.exp, few.values())) - 1) < _TOLERANCE
    assert len(few) < 3 or whole, "what top_k leaves must be renormalised"
    _check_nucleus(_share_kept(plain, narrow, "top_p"), narrow)


async def _drawn(
    engine: InferenceEngine, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> dict[int, float]:
    """Return the log-prob of every token that was drawn, after checking how often each was."""
    request = GenerationRequest(
        prompt=_PROMPT, max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p
    )
    counts: Counter[int] = Counter()
    logprobs: dict[int, float] = {}
    for done in await engine.generate([request] * _DRAWS):
        token, logprob = int(done.tokens[0]), float(done.logprobs[0])
        counts[token] += 1
        known = logprobs.setdefault(token, logprob)
        assert abs(known - logprob) < _TOLERANCE, "a token must have the same log-prob every time"
    if temperature > 0:
        _check_counts(counts, {token: math.exp(value) for token, value in logprobs.items()})
    return logprobs


def _check_counts(counts: Counter[int], probabilities: dict[int, float]) -> None:
    """Pearson's test; a sound engine fails it once in many millions of times."""
    total = sum(probabilities.values())
    assert total <= 1 + _SUM_TOLERANCE, f"the probabilities of what was drawn sum up to {total:.3f}"
    common = {t: p * _DRAWS for t, p in probabilities.items() if p * _DRAWS >= _FEWEST}
    rare = max(_DRAWS - sum(common.values()), 0.0)
    drawn_rarely = _DRAWS - sum(counts[token] for token in common)
    statistic = sum((counts[token] - mean) ** 2 / mean for token, mean in common.items())
    statistic += (drawn_rarely - rare) ** 2 / max(rare, _FEWEST)
    freedom = len(common)
    bound = freedom + 8 * math.sqrt(2 * freedom + 1) + 15
    assert statistic < bound, (
        f"tokens must be drawn with the probabilities that their log-probs say; "
        f"chi squared is {statistic:.0f} at {freedom} degrees of freedom"
    )


def _check_temperature(plain: dict[int, float], cold: dict[int, float]) -> None:
    both = sorted(plain.keys() & cold.keys())
    for one, other in zip(both, both[1:], strict=False):
        expected = (plain[one] - plain[other]) / 0.5
        off = abs(cold[one] - cold[other] - expected)
        assert off < 4 * _TOLERANCE, "log-probs must be those of the tempered distribution"


def _share_kept(plain: dict[int, float], filtered: dict[int, float], option: str) -> float:
    """Return the share of all probability that a filter left; it must keep proportions."""
    known = plain.keys() & filtered.keys()
    shifts = [filtered[token] - plain[token] for token in known]
    same = not shifts or max(shifts) - min(shifts) < 2 * _TOLERANCE
    assert same, f"log-probs must be those of the distribution that {option} leaves"
    return math.exp(-sum(shifts) / len(shifts)) if shifts else 1.0


def _check_nucleus(share: float, narrow: dict[int, float]) -> None:
    """The smallest set of tokens that holds `_NUCLEUS` of the probability."""
    message = (
        f"top_p {_NUCLEUS} must leave the smallest set of at least that share, not {share:.3f}"
    )
    assert share > _NUCLEUS - _TOLERANCE, message
    rarest = share * math.exp(min(narrow.values()))
    assert share - rarest < _NUCLEUS + _TOLERANCE, message
