"""The contract of gradient codecs: what is decoded is what was encoded, up to a small error."""

import numpy as np
import numpy.typing as npt

from ralo_core.protocols import GradientCodec

_TOLERANCE = 0.02
_SLICE = 1 << 16


def check_gradient_codec(codec: GradientCodec, tolerance: float = _TOLERANCE) -> None:
    """Check `codec`: relative L2 error at most `tolerance` on random gradients of many sizes."""
    rng = np.random.default_rng(0)
    for size in (1, 7, 1000, 4097):
        for scale in (1e-6, 1.0):
            value = (rng.normal(size=size) * scale).astype(np.float32)
            name = f"w{size}.{scale}"  # a codec may remember what it lost of a parameter
            parts = codec.encode(name, value)
            assert parts, "encode() must return at least one array"
            for suffix, part in parts.items():
                assert isinstance(suffix, str), "the keys of encode() must be name suffixes"
                assert isinstance(part, np.ndarray), "encode() must return numpy arrays"
            assert codec.size(parts) == size, "size() must give the number of encoded values"
            back = codec.decode(name, parts, 0, size)
            assert back.dtype == np.float32, f"decode() must return float32, got {back.dtype}"
            assert back.shape == (size,), f"decode() must return {size} values, got {back.shape}"
            error = np.linalg.norm(back - value) / np.linalg.norm(value)
            assert error <= tolerance, f"relative error {error:.3g} of {size} values: too much"
    zeros = codec.decode("zeros", codec.encode("zeros", np.zeros(5, np.float32)), 0, 5)
    assert not zeros.any(), "a zero gradient must stay zero"
    _check_what_is_not_finite(codec)
    _check_slices(codec, rng.normal(size=_SLICE + 10).astype(np.float32))


def _check_what_is_not_finite(codec: GradientCodec) -> None:
    for name, bad in {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}.items():
        value = np.ones(300, np.float32)
        value[7] = bad
        with np.errstate(all="ignore"):
            back = codec.decode(name, codec.encode(name, value), 0, value.size)
        assert not np.isfinite(back).all(), (
            f"a gradient with {name} must decode to values that are not finite: the server refuses "
            "it by them"
        )


def _check_slices(codec: GradientCodec, value: npt.NDArray[np.float32]) -> None:
    parts = codec.encode("w", value)
    whole = codec.decode("w", parts, 0, value.size)
    pieces = [
        codec.decode("w", parts, 0, _SLICE),
        codec.decode("w", parts, _SLICE, value.size),
    ]
    assert np.array_equal(whole, np.concatenate(pieces)), "slices must be parts of the whole"
