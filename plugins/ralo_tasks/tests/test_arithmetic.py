"""The embedded task: its texts, its split and the provider's contract."""

import itertools
import json
from operator import length_hint
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import BuildContext
from ralo_tasks.arithmetic import (
    ArithmeticProvider,
    ArithmeticSettings,
    is_held_out,
    make_terms,
    question,
    verify,
)


def provider(run_seed=0, **options):
    return ArithmeticProvider(
        ArithmeticSettings(**options), BuildContext(role="orchestrator", seed=run_seed)
    )


def take(source, count):
    return list(itertools.islice(source, count))


def terms_of(problem):
    return tuple(int(term) for term in problem.prompt.split("+"))


def test_a_question_is_its_terms_with_plus_signs_between():
    assert question((17, 25, 38)) == "17+25+38"


@given(st.integers(0), st.integers(2, 6), st.integers(1, 5))
def test_terms_have_exactly_the_digits_asked_for_and_their_sum_verifies(seed, terms, digits):
    made = make_terms(Random(seed), terms, digits)
    assert len(made) == terms
    assert all(len(str(term)) == digits for term in made)
    assert verify(f"some way to it;#{sum(made)}", str(sum(made)))
    assert not verify(f"#{sum(made)}", str(sum(made) + 1))


@pytest.mark.parametrize("text", ["", "80", "#", "#81", "#80#", "#8 0", "#80;", "#080", "# eighty"])
def test_anything_else_behind_the_last_mark_is_wrong(text):
    assert not verify(text, "80")


def test_only_the_last_mark_counts():
    assert verify("#1 no, #80\n", "80")


def test_about_a_tenth_of_the_questions_is_held_out():
    share = sum(is_held_out(terms) for terms in itertools.product(range(10, 100), repeat=2)) / 8100
    assert 0.08 < share < 0.12


def test_training_never_yields_a_held_out_question_whatever_the_seed():
    for seed in range(5):
        for problem in take(provider(seed), 300):
            assert not is_held_out(terms_of(problem))
    held_out = provider(0).held_out(100)
    assert len({problem.prompt for problem in held_out}) == 100
    assert all(is_held_out(terms_of(problem)) for problem in held_out)


def test_held_out_problems_do_not_depend_on_seed_or_position():
    moved = provider(7)
    take(moved, 10)
    assert moved.held_out(20) == provider(1).held_out(20)
    assert moved.held_out(20)[:5] == moved.held_out(5)


def test_a_small_space_gives_as_many_held_out_problems_as_it_has():
    options = {"terms_min": 2, "terms_max": 2, "digits_min": 1, "digits_max": 1}
    expected = {
        question(terms) for terms in itertools.product(range(1, 10), repeat=2) if is_held_out(terms)
    }
    assert {problem.prompt for problem in provider(**options).held_out(100)} == expected


def test_a_restored_provider_continues_with_the_next_problem():
    whole = take(provider(3), 30)
    first = provider(3)
    assert take(first, 11) == whole[:11]
    second = provider(3)
    second.restore(json.loads(json.dumps(first.state())))
    assert take(second, 19) == whole[11:]


def test_seeds_give_different_problems_and_ids_are_unique():
    assert take(provider(1), 20) != take(provider(2), 20)
    assert take(provider(1, seed=2), 20) == take(provider(2), 20)
    assert len({problem.id for problem in take(provider(1), 200)}) == 200


def test_count_bounds_the_run_and_zero_is_endless():
    assert len(provider(count=5)) == 5
    assert len(list(provider(count=5))) == 5
    assert length_hint(provider(), -1) == -1
    assert bool(provider())


def test_difficulty_counts_digit_additions_and_spans_the_ranges():
    problems = take(provider(terms_min=2, terms_max=4, digits_min=1, digits_max=3), 300)
    assert {problem.metadata["difficulty"] for problem in problems} == {1, 2, 3, 4, 6, 9}
    assert all(problem.answer == str(sum(terms_of(problem))) for problem in problems)


def test_a_curriculum_starts_easy_and_ends_hard():
    problems = take(provider(terms_min=2, terms_max=6, curriculum=200), 400)
    assert max(len(terms_of(problem)) for problem in problems[:20]) == 2
    assert max(len(terms_of(problem)) for problem in problems[200:]) == 6


def test_crossed_bounds_are_refused():
    with pytest.raises(ValueError, match=r"terms_min \(5\) must not be above terms_max \(3\)"):
        ArithmeticSettings(terms_min=5)
