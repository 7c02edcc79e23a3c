"""The gradient codecs against torch's own bfloat16, and the metrics file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ralo_core import BuildContext, RaloError
from ralo_core.builtin.codecs import Bfloat16Codec, Float32Codec, from_bfloat16, to_bfloat16
from ralo_core.builtin.int8 import Int8Codec, Int8Settings
from ralo_core.builtin.trackers import JsonlTracker

CONTEXT = BuildContext(role="trainer")
EDGES = np.array(
    [0.0, -0.0, 1.0, 1.00390625, 1.01171875, np.inf, -np.inf, np.nan, 3.4e38, 1e-45, -1e-40],
    np.float32,
)


def any_bits():
    return arrays(np.uint32, st.integers(0, 50)).map(lambda bits: bits.view(np.float32))


@given(any_bits())
def test_float32_is_sent_bit_for_bit(values):
    codec = Float32Codec(None, CONTEXT)
    decoded = codec.decode("w", codec.encode("w", values), 0, values.size)
    assert decoded.dtype == np.float32
    assert decoded.tobytes() == values.tobytes()


@settings(deadline=None)  # the first example imports torch
@given(any_bits())
def test_bfloat16_rounds_as_torch_does(values):
    torch = pytest.importorskip("torch")
    expected = torch.from_numpy(values.copy()).bfloat16().float().numpy()
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(values)), expected)


def test_bfloat16_keeps_zeros_infinities_and_nan_and_rounds_ties_to_even():
    decoded = from_bfloat16(to_bfloat16(EDGES))
    expected = [0.0, -0.0, 1.0, 1.0, 1.015625, np.inf, -np.inf, np.nan, np.inf, 0.0]
    np.testing.assert_array_equal(decoded[:10], np.array(expected, np.float32))
    assert np.signbit(decoded[1])


@given(arrays(np.float32, 20, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_bfloat16_is_off_by_at_most_half_a_unit_in_the_last_place(values):
    codec = Bfloat16Codec(None, CONTEXT)
    parts = codec.encode("w", values.reshape(4, 5))
    assert (parts[""].dtype, parts[""].shape) == (np.dtype(np.uint16), (20,))
    error = np.abs(codec.decode("w", parts, 0, 20).astype(np.float64) - values)
    tiny = float(np.finfo(np.float32).smallest_normal)
    assert (error <= 2.0**-8 * np.maximum(np.abs(values.astype(np.float64)), tiny)).all()


def int8(**options):
    return Int8Codec(Int8Settings(**options), CONTEXT)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 255, 256, 257, 1000]),
    st.floats(1e-30, 1e30),
)  # fmt: skip
def test_int8_is_off_by_at_most_half_a_level_of_its_block(seed, size, scale):
    values = np.random.default_rng(seed).standard_cauchy(size) * scale
    values = np.clip(values, -1e38, 1e38).astype(np.float32)
    codec = int8(feedback=False)
    parts = codec.encode("w", values)
    assert (parts[""].dtype, parts[":scale"].size) == (np.int8, -(-size // 256))
    assert codec.size(parts) == size
    error = np.abs(codec.decode("w", parts, 0, size).astype(np.float64) - values)
    for start in range(0, size, 256):
        block = slice(start, start + 256)
        largest = float(np.abs(values[block]).max())
        assert error[block].max() <= largest / 254 * (1 + 1e-4)


def test_int8_keeps_zeros_and_the_largest_of_a_block_and_survives_the_smallest_numbers():
    values = np.zeros(600, np.float32)
    values[[3, 300]] = 2.5, -7.0
    codec = int8()
    np.testing.assert_array_equal(codec.decode("w", codec.encode("w", values), 0, 600), values)
    tiny = np.full(300, 190 * np.finfo(np.float32).smallest_subnormal)
    back = codec.decode("t", codec.encode("t", tiny), 0, 300)
    assert (np.abs(back - tiny) <= tiny).all()


def test_with_feedback_the_mean_of_what_is_sent_is_the_mean_of_what_was_computed():
    rng = np.random.default_rng(3)
    steady = rng.normal(size=700) * 1e-3
    steady[::256] = 1.0  # one large value per block: the rest lies below half a level
    errors = {}
    for feedback in (False, True):
        codec, sent, wanted = int8(feedback=feedback), np.zeros(700), np.zeros(700)
        errors[feedback] = {}
        for step in range(1, 257):
            value = (steady + rng.normal(size=700) * 1e-4).astype(np.float32)
            sent += codec.decode("w", codec.encode("w", value), 0, 700)
            wanted += value
            if step in (16, 256):
                errors[feedback][step] = float(np.abs(sent - wanted).max() / step)
    # The sums never differ by more than the last residual, so the means' error falls as 1/T.
    level = 1.01 / 127
    for step, error in errors[True].items():
        assert error <= level / 2 * 1.01 / step
    assert errors[False][256] > 0.1 * errors[False][16] > errors[True][256]


def test_a_gradient_that_is_not_finite_is_not_kept_for_the_next_one():
    codec = int8()
    value = np.linspace(-1, 1, 300).astype(np.float32)
    bad = value.copy()
    bad[[5, 290]] = np.nan, np.inf
    decoded = codec.decode("w", codec.encode("w", bad), 0, 300)
    assert not np.isfinite(decoded[[5, 290]]).any()
    after = codec.decode("w", codec.encode("w", value), 0, 300)
    np.testing.assert_array_equal(after, int8().decode("w", int8().encode("w", value), 0, 300))


@pytest.mark.parametrize(
    ("codec", "parts", "message"),
    [
        (Float32Codec(None, CONTEXT), {"": np.zeros(3)}, "expected float32, got float64"),
        (Bfloat16Codec(None, CONTEXT), {"": np.zeros(3, np.float16)}, "expected uint16"),
        (int8(), {"": np.zeros(3, np.uint8), ":scale": np.zeros(1, np.float32)}, "expected int8"),
        (int8(), {"": np.zeros(3, np.int8), ":scale": np.zeros(1)}, "int8 and float64"),
        (int8(), {"": np.zeros(300, np.int8), ":scale": np.zeros(1, np.float32)}, "need 2 scales"),
    ],
)
def test_arrays_of_another_type_or_length_are_no_encoded_gradient(codec, parts, message):
    with pytest.raises(ValueError, match=message):
        codec.size(parts)


def test_metrics_are_appended_as_lines_that_a_reader_sees_at_once(tmp_path):
    tracker = JsonlTracker(None, BuildContext(role="learner", run_dir=tmp_path))
    tracker.log(1, {"reward": 0.5, "loss": float("nan")})
    first = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(first) == {"step": 1, "reward": 0.5, "loss": None}
    tracker.close()
    again = JsonlTracker(None, BuildContext(role="learner", run_dir=tmp_path))
    again.log(2, {"reward": 1.0})
    again.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_the_metrics_file_needs_a_run_directory():
    with pytest.raises(RaloError, match="run directory"):
        JsonlTracker(None, CONTEXT)
