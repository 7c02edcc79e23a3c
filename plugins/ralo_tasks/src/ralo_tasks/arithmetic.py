"""Chained additions: the embedded task, made on the spot and graded by difficulty.

The server hands the problems out, the `arithmetic` reward grades responses to them, and the
embedded tiny model is taught from the same `make_terms` and `question`. A fixed tenth of all
questions is held out by its hash, so no seed, model or run ever trains on one.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from random import Random
from typing import Any

import attrs

from ralo_core.components import BuildContext
from ralo_core.config.checks import at_least
from ralo_core.config.setting import setting
from ralo_core.data import Problem

_HELD_OUT_SHARE = 10
_TRIES = 200


@attrs.frozen(kw_only=True)
class ArithmeticSettings:
    """``[problems.arithmetic]``: how long and how large the sums are."""

    terms_min: int = setting(3, "fewest numbers in a sum", at_least(2))
    terms_max: int = setting(3, "most numbers in a sum", at_least(2))
    digits_min: int = setting(2, "fewest digits of its numbers", at_least(1))
    digits_max: int = setting(2, "most digits of its numbers", at_least(1))
    curriculum: int = setting(
        0, "problems over which the maxima grow from the minima; 0: full range at once", at_least(0)
    )
    count: int = setting(0, "problems in the run; 0: endless", at_least(0))
    seed: int = setting(0, "seed of the problems; 0: the run's seed")

    def __attrs_post_init__(self) -> None:
        for name in ("terms", "digits"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                msg = f"{name}_min ({low}) must not be above {name}_max ({high})"
                raise ValueError(msg)


class ArithmeticProvider:
    """Problem k is a function of settings, seed and k alone, so the state is just k."""

    def __init__(self, settings: ArithmeticSettings, context: BuildContext) -> None:
        self._settings = settings
        self._seed = settings.seed or context.seed
        self._position = 0

    def __iter__(self) -> Iterator[Problem]:
        while not self._settings.count or self._position < self._settings.count:
            index = self._position
            self._position += 1
            yield self._problem(index)

    def __len__(self) -> int:
        if not self._settings.count:
            msg = "an endless provider has no length; use operator.length_hint"
            raise TypeError(msg)
        return self._settings.count

    def __bool__(self) -> bool:
        return True

    def state(self) -> dict[str, Any]:
        """Return the position as JSON-able data."""
        return {"position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a position that `state` returned."""
        self._position = int(state["position"])

    def held_out(self, count: int) -> Sequence[Problem]:
        """Return up to `count` distinct held-out problems; they do not depend on the seed."""
        return held_out_problems(self._settings, count, "held out")

    def _problem(self, index: int) -> Problem:
        random = Random(f"{self._seed} {index}")  # noqa: S311
        curriculum = self._settings.curriculum
        progress = min(1.0, index / curriculum) if curriculum else 1.0
        while is_held_out(terms := _draw(self._settings, random, progress)):
            pass
        return _to_problem(f"arithmetic-{index}", terms)


def held_out_problems(settings: ArithmeticSettings, count: int, seed: str) -> Sequence[Problem]:
    """Return up to `count` distinct problems of the held-out tenth, drawn by `seed`; there may be
    fewer where numbers are small."""
    random = Random(seed)  # noqa: S311 (problems need no secrecy)
    found: dict[tuple[int, ...], Problem] = {}
    for _ in range(count * _TRIES):
        if len(found) == count:
            break
        terms = _draw(settings, random, 1.0)
        if is_held_out(terms) and terms not in found:
            found[terms] = _to_problem(f"arithmetic-held-out-{len(found)}", terms)
    return list(found.values())


def _draw(bounds: ArithmeticSettings, random: Random, progress: float) -> tuple[int, ...]:
    terms_max = bounds.terms_min + round((bounds.terms_max - bounds.terms_min) * progress)
    digits_max = bounds.digits_min + round((bounds.digits_max - bounds.digits_min) * progress)
    return make_terms(
        random,
        random.randint(bounds.terms_min, terms_max),
        random.randint(bounds.digits_min, digits_max),
    )


def make_terms(random: Random, terms: int, digits: int) -> tuple[int, ...]:
    """Return `terms` random numbers of exactly `digits` digits, no leading zeros."""
    low, high = 10 ** (digits - 1), 10**digits - 1
    return tuple(random.randint(low, high) for _ in range(terms))


def question(terms: Sequence[int]) -> str:
    """Return the prompt, for example ``17+25+38``."""
    return "+".join(map(str, terms))


def verify(text: str, answer: str) -> bool:
    """Say whether what stands behind the last ``#`` of `text` is `answer` and nothing else."""
    _, mark, tail = text.rpartition("#")
    return bool(mark) and tail.strip() == answer.strip()


def difficulty(terms: Sequence[int]) -> int:
    """Return the number of digit additions on the way to the sum."""
    return (len(terms) - 1) * len(str(terms[0]))


def is_held_out(terms: Sequence[int]) -> bool:
    """Say whether a question is reserved for evaluation: a fixed tenth, chosen by its hash."""
    digest = sha256(question(terms).encode()).digest()
    return int.from_bytes(digest[:8], "big") % _HELD_OUT_SHARE == 0


def _to_problem(identifier: str, terms: Sequence[int]) -> Problem:
    return Problem(
        id=identifier,
        prompt=question(terms),
        answer=str(sum(terms)),
        metadata={"difficulty": difficulty(terms)},
    )
