"""Packs of several trees in one sequence: the same gradient, and only where it is cheaper."""

import numpy as np
import pytest
import torch
from computing import gradient_over
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, BuildContext, TreeBuilder
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.forests import cost, join, make_forests
from ralo_worker.trainer.layout.micro_batches import cut, micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)

MANY = 10**6
FREE = 1e-9
"""A price of attention at which only padding counts."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def group(rng, prompt, responses, temperature=1.0):
    """A flat group with responses of these lengths, behaviour log-probs near the policy's."""
    builder = TreeBuilder(f"p{rng.integers(10**9)}", rng.integers(0, 40, prompt), temperature)
    for size in responses:
        logprobs = -rng.uniform(2.5, 5.0, size)
        node = builder.add_segment(PROMPT, rng.integers(0, 40, size), logprobs, 0)
        builder.add_leaf(node, "eos")
    return builder.build()


def rows_of(rng, trees):
    return make_rows(
        trees, [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    )


def gradient_of(model, packs, max_tokens):
    loss = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    return gradient_over(Policy(model), loss, micro_batches(packs, max_tokens, 0))


def alone(rows):
    return list(make_packs(rows, 0))


SHAPES = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.lists(st.integers(1, 12), min_size=1, max_size=4),
        st.sampled_from([0.5, 1.0, 1.3]),
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.integers(0, 99), st.integers(8, 60), st.integers(8, 100), st.integers(0, 40))
def test_gradients_equal_those_of_rows_by_themselves(
    model, shapes, seed, limit, max_tokens, shared
):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, [group(rng, *shape) for shape in shapes])
    packs = list(make_packs(rows, shared))
    forests = make_forests(packs, limit, max_tokens, FREE)
    expected = gradient_of(model, alone(rows), 1)
    found = gradient_of(model, forests, max_tokens)
    assert found.weight == expected.weight
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-4, abs=1e-5)
    for name, value in expected.tensors.items():
        error = (found.tensors[name] - value).norm() / value.norm().clamp(min=1e-3)
        assert error < 1e-5, name


@settings(deadline=None, max_examples=100)
@given(SHAPES, st.integers(0, 99), st.integers(0, 60), st.integers(1, 100), st.floats(0, 0.1))
def test_every_row_stands_once_and_no_way_is_dearer_than_apart(
    shapes, seed, limit, max_tokens, price
):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, [group(rng, *shape) for shape in shapes])
    packs = alone(rows)
    forests = make_forests(packs, limit, max_tokens, price)
    assert sorted(id(row) for pack in forests for row in pack.rows) == sorted(map(id, rows))
    assert cost(forests, max_tokens, price) <= cost(packs, max_tokens, price)
    for pack in forests:
        assert len(pack.rows) == 1 or len(pack.tokens) <= limit


def test_a_joined_row_sees_its_own_path_only_from_position_0():
    rng = np.random.default_rng(1)
    trees = [group(rng, 3, [4, 5]), group(rng, 2, [6], 0.7)]
    packs = list(make_packs(rows_of(rng, trees), MANY))
    two, begin = join(packs), 0
    seen = two.attention()
    for pack in packs:
        mine = list(range(begin, begin + len(pack.tokens)))
        outside = [place for place in range(len(two.tokens)) if place not in mine]
        assert not seen[mine][:, outside].any()
        assert (seen[mine][:, mine] == pack.attention()).all()
        assert two.positions[mine].tolist() == pack.positions.tolist()
        assert set(two.temperatures[mine].tolist()) == {np.float32(pack.rows[0].tree.temperature)}
        begin += len(pack.tokens)
    assert not two.is_chain


def test_log_probs_are_at_the_temperature_of_the_row(model):
    rng = np.random.default_rng(2)
    rows = rows_of(rng, [group(rng, 2, [5], temperature) for temperature in (0.5, 1.0, 2.0)])
    joined = join(alone(rows))
    (together,) = micro_batches([joined], MANY, 0)
    values = Policy(model)(together)[0]
    for index, row in enumerate(joined.rows):
        tokens = torch.tensor([*row.tree.prompt, *row.tree.tokens])[None].long()
        logits = model(tokens).logits[0, 1:-1] / row.tree.temperature
        expected = logits.log_softmax(-1).gather(1, tokens[0, 2:, None])[:, 0]
        torch.testing.assert_close(values[index], expected, rtol=1e-4, atol=1e-5)


def padded(packs, max_tokens=MANY):
    return sum(len(batch) * len(batch[-1].tokens) for batch in cut(packs, max_tokens))


def test_groups_of_uneven_length_go_without_padding():
    rng = np.random.default_rng(3)
    trees = [group(rng, 8, sizes) for sizes in ([92, 42, 12], [32, 2, 52], [72, 22, 62])]
    packs = alone(rows_of(rng, trees))
    tokens = sum(len(pack.tokens) for pack in packs)
    forests = make_forests(packs, MANY, MANY, FREE)
    assert padded(packs) == 900
    assert padded(forests) == 500, f"of {tokens} tokens"


@pytest.mark.parametrize(
    ("sizes", "limit", "price", "joined"),
    [
        ([90, 30, 30, 30], MANY, FREE, True),
        ([90, 30, 30, 30], 89, FREE, True),  # the long one by itself, the others together
        ([90, 30, 30, 30], 0, FREE, False),
        ([90, 30, 30, 30], 59, FREE, False),
        ([60, 30, 30, 30], MANY, FREE, True),
        ([60, 30, 30, 30], MANY, 1.0, False),  # attention costs more than padding
        ([20, 13, 13, 13, 13], MANY, FREE, True),  # in one that is wider than the longest
        ([90, 90, 90, 90], MANY, FREE, False),  # nothing to fill
    ],
)
def test_packs_are_joined_only_where_that_is_cheaper(sizes, limit, price, joined):
    rng = np.random.default_rng(4)
    packs = alone(rows_of(rng, [group(rng, 1, [size - 1]) for size in sizes]))
    forests = make_forests(packs, limit, MANY, price)
    assert (len(forests) < len(packs)) == joined


def test_one_outlier_does_not_make_all_sequences_as_long():
    """At its width attention would cost as much as all else: the others are joined to less."""
    rng = np.random.default_rng(5)
    sizes = [1600, *([40, 160] * 20)]
    packs = alone(rows_of(rng, [group(rng, 1, [size - 1]) for size in sizes]))
    lengths = sorted(len(p.tokens) for p in make_forests(packs, MANY, 16384, 1e-3))
    assert lengths[-1] == 1600
    assert set(lengths[:-1]) == {200}
    assert len(lengths) == 21
