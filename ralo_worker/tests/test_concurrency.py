"""How many problems a sampler works on, against a simulated engine that counts."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_sampler import Simulation

from ralo_worker.sampler.concurrency import FULL, ConcurrencyController, Load


def trees(random, width, depth=6, tokens=20):
    """Problems that ask for two requests at first, then for twice as many round after round."""

    def make():
        widths = [min(width, 2**level) for level in range(1, depth + 1)]
        return [[random.randint(tokens // 2, tokens) for _ in range(w)] for w in widths]

    return make


def groups(random, size):
    """Problems that ask for all their requests at once."""
    return lambda: [[random.randint(1, 120) for _ in range(size)]]


KINDS = {
    "trees of 16": (trees, 16), "trees of 64": (trees, 64), "groups of 16": (groups, 16),
    "groups of 64": (groups, 64), "single": (groups, 1),
}  # fmt: skip


def problems(kind, seed=0):
    make, size = KINDS[kind]
    return make(Random(seed), size), size


@pytest.mark.parametrize("capacity", [8, 64, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_is_full_and_little_waits(kind, capacity):
    make, size = problems(kind)
    simulation = Simulation(ConcurrencyController(capacity), make)
    simulation.ticks(700)
    seen = simulation.ticks(3000)
    running, asked, _ = (sum(column) / len(seen) for column in zip(*seen, strict=True))
    assert running >= 0.85 * capacity
    assert asked <= 1.45 * capacity + 2 * size, "what waits makes older trees"


@pytest.mark.parametrize("kind", KINDS)
def test_the_beginning_does_not_flood_the_engine(kind):
    """Trees that have only begun ask for little; that is no reason to begin many more."""
    make, size = problems(kind)
    simulation = Simulation(ConcurrencyController(64), make)
    asked = [asked for _, asked, _ in simulation.ticks(700)]
    assert max(asked) <= 3 * 64 + 2 * size


def test_the_first_problem_is_begun_alone():
    concurrency = ConcurrencyController(256)
    assert concurrency.wanted(Load(sampling=0, finishing=0, asked=0)) == 1
    assert concurrency.wanted(Load(sampling=1, finishing=0, asked=64)) == 4


def test_what_an_evaluation_has_in_the_engine_is_not_free():
    concurrency = ConcurrencyController(256)
    beside = {others: Load(sampling=1, finishing=0, asked=16, others=others) for others in (0, 272)}
    assert concurrency.wanted(beside[0]) == 15
    assert concurrency.wanted(beside[272]) == 2


@pytest.mark.parametrize(
    ("before", "after"), [("single", "groups of 64"), ("groups of 64", "single")]
)
def test_problems_that_change_are_followed(before, after):
    simulation = Simulation(ConcurrencyController(128), problems(before)[0])
    simulation.ticks(700)
    simulation.make = problems(after)[0]
    simulation.ticks(1500)
    seen = simulation.ticks(1000)
    running, asked, _ = (sum(column) / len(seen) for column in zip(*seen, strict=True))
    assert running >= 0.9 * 128
    assert asked <= 1.45 * 128 + 64


def test_scoring_is_no_reason_to_leave_the_engine_idle():
    """Half of a problem's life is scoring: twice as many are under way."""
    make, _ = problems("groups of 16")
    simulation = Simulation(ConcurrencyController(256), make, scoring=60)
    simulation.ticks(700)
    seen = simulation.ticks(1000)
    assert sum(running for running, _, _ in seen) / len(seen) >= 0.95 * 256


loads = st.builds(
    Load,
    sampling=st.integers(0, 500),
    finishing=st.integers(0, 500),
    asked=st.integers(0, 5000),
    others=st.integers(0, 300),
)


@given(st.integers(1, 512), st.lists(st.tuples(st.floats(0.0, 60.0), loads), max_size=20), loads)
def test_nothing_is_leased_that_the_engine_or_scoring_has_no_room_for(capacity, history, load):
    concurrency = ConcurrencyController(capacity)
    for seconds, past in history:
        concurrency.passed(seconds, past)
        concurrency.finished(past)
    wanted = concurrency.wanted(load)
    assert wanted >= 0
    if load.sampling and load.asked + load.others >= FULL * capacity:
        assert wanted == 0
    if load.finishing > max(16, load.sampling):
        assert wanted == 0
    if wanted:
        seen = max(1, capacity // 16) + len(history)
        assert load.sampling + wanted <= seen, "no more than double in a generation"


@given(st.integers(1, 64), loads)
def test_a_fixed_number_is_that_number(fixed, load):
    wanted = ConcurrencyController(256, fixed).wanted(load)
    assert wanted == max(0, fixed - load.sampling - load.finishing)
