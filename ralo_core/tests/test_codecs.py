"""The gradient codecs against torch's own bfloat16, and the metrics file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ralo_core import BuildContext, RaloError
from ralo_core.builtin.codecs import Bfloat16Codec, Float32Codec, from_bfloat16, to_bfloat16
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
