"""Trees keep their shape, and cross the wire bit by bit; nothing else gets through."""

import contextlib

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import PROMPT, Problem, TreeBuilder, wire
from ralo_core.errors import DataError, WireError
from ralo_core.structuring import unstructure
from ralo_core.testing import random_tree

TREES = st.integers(0, 10**9).map(random_tree)


def same(one, other):
    for name in ("prompt", "parents", "offsets", "tokens", "logprobs", "versions", "leaves"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), name
    assert one.rewards.tobytes() == other.rewards.tobytes()
    assert one.finish_reasons == other.finish_reasons
    assert (one.problem_id, one.lease_id) == (other.problem_id, other.lease_id)
    assert one.reward_parts.keys() == other.reward_parts.keys()


@given(TREES)
def test_a_tree_crosses_the_wire_bit_by_bit(tree):
    same(tree, wire.unpack_tree(wire.pack_tree(tree)))


@given(st.lists(TREES, max_size=4))
def test_so_does_a_batch(trees):
    batch = wire.unpack_batch(wire.pack_batch("b", 2.5, [wire.pack_tree(tree) for tree in trees]))
    assert (batch.id, batch.expires, len(batch.trees)) == ("b", 2.5, len(trees))
    for one, other in zip(trees, batch.trees, strict=True):
        same(one, other)


@given(TREES, st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_a_damaged_body_is_refused_or_still_a_valid_tree(tree, position, noise):
    body = bytearray(wire.pack_tree(tree))
    position %= len(body)
    body[position : position + len(noise)] = noise
    for damaged in (bytes(body), bytes(body[:position])):
        with contextlib.suppress(WireError):
            wire.unpack_tree(damaged).validate()


def test_a_wrong_tensor_is_named():
    header, tensors = wire.tree_to_parts(random_tree(1))
    for name, value, message in (
        ("tokens", tensors["tokens"].astype(np.int64), "'tokens' must be .*int32, got int64"),
        ("rewards", tensors["rewards"][None], "'rewards' must be one-dimensional"),
        ("logprobs", tensors["logprobs"] * np.nan, "logprob is not a finite number"),
    ):
        with pytest.raises(WireError, match=message):
            wire.unpack_tree(wire.pack(header, {**tensors, name: value}))
    without = wire.pack(header, {k: v for k, v in tensors.items() if k != "parents"})
    with pytest.raises(WireError, match="parents"):
        wire.unpack_tree(without)
    without = wire.pack({k: v for k, v in header.items() if k != "finish_reasons"}, tensors)
    with pytest.raises(WireError, match="finish_reasons"):
        wire.unpack_tree(without)


@pytest.mark.parametrize(
    "body", [b"", b"\x80\x04K\x01.", b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"]
)
def test_what_is_no_safetensors_file_of_ours_is_refused(body):
    with pytest.raises(WireError):
        wire.unpack(body)


@pytest.mark.parametrize("prompt", ["한국어 🙂 {x}", [{"role": "user", "content": "a\nb"}]])
def test_a_problem_survives_json(prompt):
    problem = Problem(id="p", prompt=prompt, answer="답", metadata={"n": [1, None]})
    again = wire.problem_from_json(unstructure(problem))
    assert (again.id, again.answer, again.metadata) == ("p", "답", {"n": [1, None]})
    assert unstructure(again)["prompt"] == prompt


@given(TREES)
def test_a_leaf_is_the_concatenation_of_its_path(tree):
    for leaf in range(len(tree.leaves)):
        node, tokens, logprobs = int(tree.leaves[leaf]), [], []
        while node >= 0:
            low, high = int(tree.offsets[node]), int(tree.offsets[node + 1])
            tokens = tree.tokens[low:high].tolist() + tokens
            logprobs = tree.logprobs[low:high].tolist() + logprobs
            node = int(tree.parents[node])
        assert tree.leaf_tokens(leaf).tolist() == tokens
        assert tree.leaf_logprobs(leaf).tolist() == logprobs


def malformed(**changes):
    return attrs.evolve(random_tree(2, segments=6), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": np.empty(0, np.int32)}, "prompt is empty"),
        ({"leaves": np.empty(0, np.int32)}, "no leaf"),
        ({"rewards": np.zeros(99, np.float32)}, "rewards do not have one entry per leaf"),
        ({"temperature": 0.0}, "temperature"),
        ({"parents": np.full(6, 5, np.int32)}, "(parent does not stand|entry more than parents)"),
        ({"finish_reasons": ()}, "finish_reasons"),
    ],
)
def test_a_malformed_tree_is_refused_with_the_field(changes, message):
    with pytest.raises(DataError, match=message):
        malformed(**changes).validate()


def test_the_builder_gives_the_response_up_to_a_segment():
    builder = TreeBuilder("p", [1, 2])
    first = builder.add_segment(PROMPT, [3, 4], [-1, -2], 0)
    second = builder.add_segment(first, [5], [-3], 1)
    assert builder.response(PROMPT) == []
    assert builder.response(second) == [3, 4, 5]
    assert builder.parent(second) == first


KINDS = ["f4", "f2", "f8", "i1", "i4", "i8", "u1", "u2", "?"]


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)), max_size=6),
    st.integers(1, 50),
)
def test_a_view_is_the_packed_body_without_a_copy_and_can_be_cut_anywhere(kinds, step):
    rng = np.random.default_rng(0)
    tensors = {
        f"t{index}": rng.integers(0, 2, size).astype(kind)
        for index, (kind, size) in enumerate(kinds)
    }
    body = wire.view({"codec": "x"}, tensors)
    joined = b"".join(body)
    assert len(joined) == len(body)
    header, back = wire.unpack(joined)
    assert header == {"codec": "x"}
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert (back[name].dtype, back[name].tobytes()) == (value.dtype, value.tobytes())
    parts = [body.part(start, start + step) for start in range(0, len(body), step)]
    assert b"".join(b"".join(part) for part in parts) == joined
    assert [len(part) for part in parts[:-1]] == [step] * (len(parts) - 1)


def test_a_view_shares_the_memory_of_its_tensors():
    value = np.zeros(1000, np.float32)
    body = wire.view({}, {"w": value})
    value[3] = 7.0
    assert wire.unpack(b"".join(body))[1]["w"][3] == 7.0
