"""Sharing the width by log-probs: whole numbers, the right side preferred, the schedule."""

import math

import attrs
import pytest
from example_paths import path, path_of_entropies
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


ENTROPIES = st.lists(st.floats(0.0, 8.0, width=32), min_size=1, max_size=5)


@given(
    st.lists(st.lists(ENTROPIES, min_size=1, max_size=3), min_size=1, max_size=6),
    st.integers(0, 12),
    st.sampled_from([0.5, 1.0, 5.0]),
    st.sampled_from(["low", "high"]),
)
def test_the_entropy_split_is_the_softmax_of_the_last_segments_means(paths, spare, tau, prefer):
    settings = TreeSamplerSettings(split="entropy", split_temperature=tau, split_prefer=prefer)
    made = [path_of_entropies(*segments) for segments in paths]
    means = [sum(segments[-1]) / len(segments[-1]) for segments in paths]
    sign = 1 if prefer == "low" else -1  # low probability is high entropy
    powers = [math.exp(sign * mean / tau) for mean in means]
    total = len(paths) + spare
    counts = copies(total, made, settings, 0)
    assert sum(counts) == total
    for count, power in zip(counts, powers, strict=True):
        share = spare * power / sum(powers)
        assert abs(count - 1 - share) < 1 + 1e-4


def test_uncertain_paths_get_more_width_unless_certain_ones_are_preferred():
    sure, unsure = path_of_entropies([9.0], [0.1, 0.3]), path_of_entropies([0.0], [2.0, 4.0])
    settings = TreeSamplerSettings(split="entropy", split_temperature=0.5)
    assert copies(8, [sure, unsure], settings, 0) == [1, 7]
    assert copies(8, [sure, unsure], attrs.evolve(settings, split_prefer="high"), 0) == [7, 1]


def test_the_schedule_of_the_temperature_is_that_of_the_entropy_split_too():
    settings = TreeSamplerSettings(
        split="entropy", split_temperature=1e6, split_temperature_end=0.1, split_versions=10
    )
    paths = [path_of_entropies([1.0]), path_of_entropies([2.0])]
    assert copies(8, paths, settings, 0) == [4, 4]
    assert copies(8, paths, settings, 10) == [1, 7]


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
