"""Aggregators against brute force, and the fold over gradient files."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ralo_core.builtin.codecs import Bfloat16Codec, Float32Codec, from_bfloat16, to_bfloat16
from ralo_core.protocols import GradientInfo
from ralo_server.aggregators.means import Diloco, StalenessMean, TokenMean, TrimmedMean
from ralo_server.aggregators.settings import (
    DilocoSettings,
    StalenessMeanSettings,
    TrimmedMeanSettings,
)
from ralo_server.learner.step.aggregate import Aggregate, slice_values

torch.set_num_threads(1)


def facts(*lags, tokens=10.0, current=20):
    return [
        GradientInfo(upload_id=f"g{n}", base_version=current - lag, weight=tokens * (n + 1))
        for n, lag in enumerate(lags)
    ]


def drawn(count, size, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def test_a_token_mean_weighs_by_tokens_whatever_the_age():
    assert list(TokenMean(None, None).weigh(facts(0, 5, 9), 20)) == [10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("power", "bound", "expected"),
    [
        (1.0, 8, [10.0, 20.0 / 3, 30.0 / 9, 0.0]),
        (0.0, 8, [10.0, 20.0, 30.0, 0.0]),
        (2.0, 2, [10.0, 20.0 / 9, 0.0, 0.0]),
        (0.5, 100, [10.0, 20.0 / 3**0.5, 10.0, 40.0 / 10**0.5]),
    ],
)
def test_a_staleness_mean_counts_old_gradients_less_and_leaves_out_the_oldest(
    power, bound, expected
):
    aggregator = StalenessMean(StalenessMeanSettings(power=power, max_staleness=bound), None)
    assert aggregator.weigh(facts(0, 2, 8, 9), 20) == pytest.approx(expected)


def test_every_trainers_way_counts_the_same_until_it_is_too_old():
    aggregator = Diloco(DilocoSettings(max_staleness=2), None)
    weights = np.asarray(aggregator.weigh(facts(0, 2, 3), 20))
    assert list(weights) == [1.0, 1.0, 0.0]
    ways = drawn(2, 30)
    np.testing.assert_allclose(aggregator.combine(ways, weights[:2]), ways.mean(0), rtol=1e-6)


@given(count=st.integers(1, 12), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_means_are_numpy_averages(count, seed):
    values = drawn(count, 30, seed)
    weights = np.random.default_rng(seed).uniform(0.1, 1000, count)
    expected = np.average(values.astype(np.float64), axis=0, weights=weights)
    for aggregator in (TokenMean(None, None), StalenessMean(StalenessMeanSettings(), None)):
        np.testing.assert_allclose(
            aggregator.combine(values, weights), expected, rtol=1e-4, atol=1e-6
        )


@given(count=st.integers(1, 12), trim=st.floats(0, 0.5), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_a_trimmed_mean_drops_the_extremes_of_every_coordinate(count, trim, seed):
    values = drawn(count, 7, seed)
    aggregator = TrimmedMean(TrimmedMeanSettings(trim=trim), None)
    combined = aggregator.combine(values, np.ones(count))
    for column in range(7):
        ordered = sorted(map(float, values[:, column]))
        dropped = math.floor(trim * count + 1e-9)
        kept = ordered[dropped : count - dropped] or [np.median(ordered)]
        assert combined[column] == pytest.approx(sum(kept) / len(kept), rel=1e-4, abs=1e-6)


def test_a_trimmed_mean_withstands_a_hostile_gradient():
    honest = np.repeat(drawn(1, 50), 9, axis=0)
    hostile = np.full((1, 50), 1e30, np.float32)
    aggregator = TrimmedMean(TrimmedMeanSettings(trim=0.1), None)
    combined = aggregator.combine(np.concatenate([honest, hostile]), np.ones(10))
    np.testing.assert_allclose(combined, honest[0], rtol=1e-6)


SHAPES = {"a": (300, 401), "b": (7,), "c": (2**16 * 2 + 3,), "scalar": ()}


def written(folder, count, codec):
    """Return gradient files, and their values as they decode."""
    paths, decoded = [], []
    for number in range(count):
        rng = np.random.default_rng(number)
        values = {
            name: np.atleast_1d(rng.normal(size=shape).astype(np.float32)).ravel()
            for name, shape in SHAPES.items()
        }
        encoded = {name: codec.encode(name, value)[""] for name, value in values.items()}
        paths.append(folder / f"{number}.safetensors")
        save_file(encoded, paths[-1])
        if isinstance(codec, Bfloat16Codec):
            values = {name: from_bfloat16(to_bfloat16(value)) for name, value in values.items()}
        decoded.append(values)
    return paths, decoded


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("codec", [Float32Codec(None, None), Bfloat16Codec(None, None)])
@pytest.mark.parametrize(
    "aggregator", [TokenMean(None, None), TrimmedMean(TrimmedMeanSettings(trim=0.2), None)]
)
def test_files_are_combined_as_whole_tensors_would_be(tmp_path, count, codec, aggregator):
    if count == 300 and isinstance(codec, Float32Codec):
        pytest.skip("one codec is enough for many files")
    paths, decoded = written(tmp_path, min(count, 12), codec)
    paths = [paths[n % len(paths)] for n in range(count)]
    weights = [float(n + 1) for n in range(count)]
    into = {name: torch.empty(shape) for name, shape in SHAPES.items()}

    def put(name, start, values):
        into[name].view(-1)[start : start + len(values)] = values

    weighted = list(zip(paths, weights, strict=True))
    aggregate = Aggregate(weighted, codec, aggregator, SHAPES)
    norm = aggregate.norm(put)
    for name, values in into.items():
        length = values.numel()
        assert torch.equal(aggregate.values(name, 0, length), values.view(-1))
        assert torch.equal(
            aggregate.values(name, length // 3, length), values.view(-1)[length // 3 :]
        )
    squares = 0.0
    for name in SHAPES:
        stacked = np.stack([decoded[n % len(decoded)][name] for n in range(count)])
        expected = aggregator.combine(stacked, np.asarray(weights))
        np.testing.assert_array_equal(into[name].numpy().ravel(), expected)
        squares += float((expected.astype(np.float64) ** 2).sum())
    assert norm == pytest.approx(math.sqrt(squares), rel=1e-6)


@given(count=st.integers(1, 10_000))
def test_the_more_gradients_the_smaller_the_slice(count):
    size = slice_values(count)
    assert 2**16 <= size <= 2**20
    assert size % 2**16 == 0
    assert size * count <= 2**24 or size == 2**16
