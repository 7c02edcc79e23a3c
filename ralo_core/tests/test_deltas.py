"""Weight deltas: bit-exact on any patterns, read by a decoder of the test's own, damage refused."""

import hashlib
import tempfile

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open

from ralo_core import wire
from ralo_core.builtin.codecs import to_bfloat16
from ralo_core.deltas import Block, BlockCodec, DeltaFile, DeltaWriter, Encoding
from ralo_core.deltas.blocks import read_blocks
from ralo_core.deltas.gaps import from_gaps, to_gaps
from ralo_core.deltas.ulps import steps_between, take_steps
from ralo_core.errors import WireError

EDGES = {
    np.uint16: [0, 0x8000, 1, 0x8001, 0x7F7F, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 0x7FFF, 0xFFFF],
    np.uint32: [0, 1 << 31, 1, (1 << 31) + 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF],
}


@st.composite
def pairs(draw):
    """Old and new bits of one width: any patterns, few or many of them changed."""
    dtype = draw(st.sampled_from([np.uint16, np.uint32]))
    top = int(np.iinfo(dtype).max)
    size = draw(st.integers(0, 700))
    patterns = st.one_of(st.sampled_from(EDGES[dtype]), st.integers(0, top))
    old = draw(arrays(dtype, size, elements=patterns))
    new = old.copy()
    if draw(st.booleans()):
        return old, draw(arrays(dtype, size, elements=patterns))
    for _ in range(draw(st.integers(0, 20)) if size else 0):
        new[draw(st.integers(0, size - 1))] = draw(patterns)
    return old, new


def decode_by_hand(block, old):
    """Decode value by value, with Python's integers, from what the docstrings say."""

    def unpacked(data):
        return zstandard.ZstdDecompressor().decompress(bytes(data))

    def numbers_of(data, count):
        return [
            sum(data[plane * count + i] << (8 * plane) for plane in range(old.dtype.itemsize))
            for i in range(count)
        ]

    bits = 8 * old.dtype.itemsize
    sign = 1 << (bits - 1)

    def step(pattern, number):
        place = sign - 1 - (pattern - sign) if pattern & sign else sign + pattern
        place = (place + (-(number + 1) // 2 if number & 1 else number // 2)) % (1 << bits)
        return place - sign if place >= sign else 2 * sign - 1 - place

    new = [int(value) for value in old]
    if block.encoding is Encoding.ALL_VALUES:
        width = old.dtype.itemsize
        data = bytes(block.numbers)
        return [int.from_bytes(data[i * width :][:width], "little") for i in range(len(new))]
    if block.encoding is Encoding.ALL_STEPS:
        steps = numbers_of(unpacked(block.numbers), len(new))
        return [step(value, number) for value, number in zip(new, steps, strict=True)]
    if block.encoding is Encoding.UNCHANGED:
        return new
    positions, place = [], -1
    for byte in unpacked(block.positions):
        place += byte
        if byte < 255:
            place += 1
            positions.append(place)
    numbers = numbers_of(unpacked(block.numbers), len(positions))
    for place, number in zip(positions, numbers, strict=True):
        stepped = block.encoding is Encoding.STEPS
        new[place] = step(new[place], number) if stepped else number
    return new


@settings(deadline=None)
@given(pairs())
def test_a_block_gives_the_new_bits_whatever_they_are(pair):
    old, new = pair
    codec = BlockCodec()
    block, changed = codec.encode(old, new)
    assert changed == sum(int(a) != int(b) for a, b in zip(old, new, strict=True))
    assert decode_by_hand(block, old) == new.tolist()
    values = old.copy()
    (read,) = read_blocks(memoryview(b"".join(block.parts())))
    codec.apply(read, values)
    assert values.tobytes() == new.tobytes()
    assert block.size <= new.nbytes + 13


@given(st.lists(st.integers(0, 3000), unique=True))
def test_gaps_stand_for_any_positions(positions):
    ascending = np.array(sorted(positions), np.int64)
    assert from_gaps(to_gaps(ascending)).tolist() == ascending.tolist()


@given(st.lists(st.integers(0, 2000), unique=True, min_size=1))
def test_a_short_gap_is_one_byte(positions):
    ascending = sorted(positions)
    gaps = [b - a - 1 for a, b in zip([-1, *ascending], ascending, strict=False)]
    assert to_gaps(np.array(ascending)).size == sum(gap // 255 + 1 for gap in gaps)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_one_step_is_the_next_float(kind):
    """Against numpy's nextafter, denormals, largest and infinity among them."""
    bits = np.dtype(f"u{np.dtype(kind).itemsize}")
    rng = np.random.default_rng(0)
    values = rng.integers(0, np.iinfo(bits).max, 20000).astype(bits).view(kind)
    values = np.concatenate([values, [kind(0), np.finfo(kind).max, np.finfo(kind).tiny]])
    with np.errstate(over="ignore", invalid="ignore"):
        above = np.nextafter(values, kind(np.inf))
    # numpy takes both zeros for one number; here they are neighbours.
    counted = np.isfinite(values) & (above != 0) & ((values != 0) | ~np.signbit(values))
    values, above = values[counted].view(bits), above[counted].view(bits)
    assert values.size > 15000
    assert (steps_between(values, above) == 2).all()
    assert (steps_between(above, values) == 1).all()


@given(arrays(np.uint16, 20), arrays(np.uint16, 20))
def test_there_is_a_step_between_any_two_patterns(old, new):
    assert take_steps(old, steps_between(old, new)).tobytes() == new.tobytes()


def test_every_16_bit_pattern_steps_to_its_neighbour_and_around():
    every = np.arange(1 << 16, dtype=np.uint16)
    up = take_steps(every, np.full_like(every, 2))
    assert np.unique(up).size == every.size
    assert take_steps(up, np.full_like(every, 1)).tobytes() == every.tobytes()


def adam_step(count, learning_rate, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.02, count).astype(np.float32)
    update = learning_rate * rng.normal(0, 0.5, count).astype(np.float32)
    return to_bfloat16(weights), to_bfloat16(weights - update)


ONE = np.full(4096, 0x3F80, np.uint16)


@pytest.mark.parametrize(
    ("old", "new", "encoding"),
    [
        (ONE, ONE, Encoding.UNCHANGED),
        (*adam_step(4096, 1e-6), Encoding.STEPS),
        (*adam_step(4096, 1e-3), Encoding.ALL_STEPS),
        (
            np.arange(4096, dtype=np.uint16) * np.uint16(7919),
            np.where(np.arange(4096) % 3, np.arange(4096) * 7919, 0).astype(np.uint16),
            Encoding.VALUES,
        ),
        (
            np.zeros(4096, np.uint16),
            np.random.default_rng(0).integers(0, 1 << 16, 4096, np.uint16),
            Encoding.ALL_VALUES,
        ),
    ],
)  # fmt: skip
def test_the_smallest_encoding_is_taken(old, new, encoding):
    block, _ = BlockCodec().encode(old, new)
    assert block.encoding is encoding
    assert decode_by_hand(block, old) == new.tolist()


def written(tmp_path, slices, base=3):
    with tempfile.TemporaryFile() as spill:
        writer = DeltaWriter(spill)
        for name, old, new in slices:
            writer.add(name, old, new)
        return writer.write(tmp_path / "x.delta", base, "base", "result")


def test_a_delta_file_is_a_safetensors_file_that_says_what_it_is(tmp_path):
    old, new = adam_step(5000, 1e-6)
    slices = [("a", ONE, ONE), ("w", old[:3000], new[:3000]), ("w", old[3000:], new[3000:])]
    file = written(tmp_path, slices)
    data = (tmp_path / "x.delta").read_bytes()
    assert (file.name, file.size) == ("x.delta", len(data))
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    with safe_open(tmp_path / "x.delta", framework="np") as tensors:
        assert tensors.keys() == ["w"], "what did not change takes no space"
    delta = DeltaFile(tmp_path / "x.delta")
    header = delta.header
    assert (header.base, header.base_sha256, header.sha256) == (3, "base", "result")
    assert header.tensors["w"].changed == int((old != new).sum())
    assert header.tensors["w"].encodings == ("steps",)
    codec, values, start = BlockCodec(), old.copy(), 0
    for block in delta.blocks("w"):
        codec.apply(block, values[start : start + block.count])
        start += block.count
    assert values.tobytes() == new.tobytes()


def test_a_delta_of_nothing_is_a_file_without_tensors(tmp_path):
    written(tmp_path, [("a", ONE, ONE)])
    assert "a" not in DeltaFile(tmp_path / "x.delta")


@pytest.mark.parametrize("kept", [0, 7, 60, 200])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kept):
    written(tmp_path, [("w", *adam_step(5000, 1e-6))])
    path = tmp_path / "x.delta"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WireError, match="not a whole safetensors file"):
        DeltaFile(path)


def test_another_safetensors_file_is_refused(tmp_path):
    (tmp_path / "x.delta").write_bytes(wire.pack({"no": "delta"}, {"w": np.zeros(3, np.uint8)}))
    with pytest.raises(Exception, match="base"):
        DeltaFile(tmp_path / "x.delta")


def packed(values, dtype=np.uint8):
    return zstandard.ZstdCompressor().compress(np.asarray(values, dtype).tobytes())


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Block(encoding=Encoding.UNCHANGED, count=9), "9 values of a delta meets 8"),
        (
            Block(encoding=Encoding.STEPS, count=8, positions=packed([8]), numbers=packed([0, 0])),
            "changes value 8 of 8",
        ),
        (
            Block(encoding=Encoding.STEPS, count=8, positions=packed([1]), numbers=packed([0])),
            "1 bytes of numbers instead of 2",
        ),
        (
            Block(encoding=Encoding.VALUES, count=8, positions=b"none", numbers=packed([0, 0])),
            "is damaged",
        ),
        (
            Block(encoding=Encoding.ALL_STEPS, count=8, numbers=packed([0] * 1000)),
            "unpacks to 1000 bytes, it may to 16",
        ),
        (Block(encoding=Encoding.ALL_VALUES, count=8, numbers=b"123"), "3 bytes of values"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(block, message):
    with pytest.raises(WireError, match=message):
        BlockCodec().apply(block, np.zeros(8, np.uint16))


@pytest.mark.parametrize(
    ("payload", "message"),
    [(b"\x01\0\0", "no block"), (b"\x09" + bytes(12), "no block"), (b"\x01" + b"\1" * 12, "cut")],
)
def test_a_payload_that_is_none_is_refused(payload, message):
    with pytest.raises(WireError, match=message):
        list(read_blocks(memoryview(payload)))
