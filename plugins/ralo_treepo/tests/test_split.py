"""Sharing the width by log-probs: whole numbers, the right side preferred, the schedule."""

import math

import pytest
from example_paths import path
from hypothesis import given
from hypothesis import strategies as st

from ralo_treepo.budget import split_by_weight
from ralo_treepo.settings import TreeSamplerSettings
from ralo_treepo.split import copies, softmax, temperature_at


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [([0.5, 0.3, 0.2], 7, [3, 2, 2]), ([1 / 3] * 3, 8, [3, 3, 2]), ([1.0, 0.0], 2, [1, 1])],
)
def test_the_reference_examples_of_the_largest_remainder(weights, total, expected):
    assert split_by_weight(total, weights) == expected


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=9), st.integers(0, 30))
def test_every_path_goes_on_and_each_share_is_kept_to_less_than_one(scores, spare):
    weights = softmax(scores)
    total = len(scores) + spare
    counts = split_by_weight(total, weights)
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - 1 - spare * weight) < 1 + 1e-9


@pytest.mark.parametrize(
    ("score", "first", "second"),
    [
        ("segment", [[-9.0], [-1.0]], [[-1.0], [-9.0]]),
        ("mean", [[-1.0], [-2.0, -2.0]], [[-2.0], [-2.0]]),
        ("sum", [[-1.0]], [[-1.0], [-1.0]]),
    ],
)
def test_more_width_goes_to_the_side_that_is_preferred(score, first, second):
    """`first` is the more probable path by each score."""
    for prefer, winner in (("high", 0), ("low", 1)):
        settings = TreeSamplerSettings(
            split="logprob", split_score=score, split_prefer=prefer, split_temperature=0.1
        )
        counts = copies(8, [path(*first), path(*second)], settings, 0)
        assert counts[winner] > counts[1 - winner]
        assert sum(counts) == 8


def test_a_high_temperature_shares_evenly():
    settings = TreeSamplerSettings(split="logprob", split_temperature=1e6)
    assert copies(8, [path([-9.0]), path([-0.1])], settings, 0) == [4, 4]


def test_the_temperature_goes_from_start_to_end_and_stays_there():
    def at(version, **options):
        settings = TreeSamplerSettings(split_temperature=5.0, split_versions=100, **options)
        return temperature_at(settings, version)

    assert at(0) == at(1000) == 5.0
    line = {"split_temperature_end": 1.0}
    assert [at(v, **line) for v in (0, 50, 100, 900)] == pytest.approx([5.0, 3.0, 1.0, 1.0])
    wave = {**line, "split_schedule": "sinusoid"}
    assert [at(v, **wave) for v in (0, 50, 100)] == pytest.approx([5.0, 3.0, 1.0])
    assert at(25, **wave) == pytest.approx(3.0 + 2.0 * math.sin(math.pi / 4))
