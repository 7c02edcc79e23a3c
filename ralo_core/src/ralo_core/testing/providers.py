"""The contract of problem providers: unique ids, exact resumption, a clean held-out split."""

import json
from collections.abc import Callable
from itertools import islice

from ralo_core.data import Problem
from ralo_core.protocols import ProblemProvider

_AMOUNT, _HELD_OUT = 40, 10


def check_problem_provider(make: Callable[[], ProblemProvider]) -> None:
    """Check providers that `make` returns; it must return a fresh one every time."""
    problems = list(islice(make(), _AMOUNT))
    assert problems, "a provider must yield at least one problem"
    for problem in problems:
        assert isinstance(problem, Problem), f"a provider must yield Problem, not {type(problem)}"
        json.dumps(dict(problem.metadata))
    ids = [problem.id for problem in problems]
    assert len(set(ids)) == len(ids), "the ids of problems must be unique within a run"
    assert list(islice(make(), _AMOUNT)) == problems, "two fresh providers must yield the same"
    _check_resumption(make, problems)
    _check_held_out(make, problems)


def _check_resumption(make: Callable[[], ProblemProvider], problems: list[Problem]) -> None:
    for position in {0, 1, len(problems) // 2, len(problems) - 1}:
        first = make()
        list(islice(first, position))
        state = json.loads(json.dumps(first.state()))
        second = make()
        second.restore(state)
        rest = list(islice(second, len(problems) - position))
        assert rest == problems[position:], (
            f"after {position} problems, state() given to restore() of a fresh provider must "
            "make it continue with the next one"
        )


def _check_held_out(make: Callable[[], ProblemProvider], problems: list[Problem]) -> None:
    held_out = list(make().held_out(_HELD_OUT))
    assert len(held_out) <= _HELD_OUT, "held_out(count) must return at most count problems"
    assert list(make().held_out(_HELD_OUT)) == held_out, "held_out must be the same every time"
    prompts = {json.dumps(problem.prompt, default=list) for problem in held_out}
    trained = {json.dumps(problem.prompt, default=list) for problem in problems}
    assert not prompts & trained, "a held-out problem must never be yielded for training"
