"""The tree advantage against the worked example and against a brute force on random trees."""

import numpy as np
import pytest
from example_trees import binary_tree
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import PROMPT, BuildContext, TreeBuilder
from ralo_treepo.advantage import TreeAdvantage
from ralo_treepo.settings import TreeAdvantageSettings


def estimator(**settings):
    return TreeAdvantage(TreeAdvantageSettings(**settings), BuildContext(role="trainer"))


EXAMPLE = {
    (("weighting", "average"), ("normalise", "off")):
        [.41667, -.58333, .25, .25, -.25, -.25, .58333, -.41667],
    (("weighting", "average"), ("normalise", "batch")):
        [1.03713, -1.45198, .62228, .62228, -.62228, -.62228, 1.45198, -1.03713],
    (("weighting", "size"), ("normalise", "off")):
        [.42857, -.57143, .35714, .35714, -.35714, -.35714, .57143, -.42857],
    (("weighting", "size"), ("normalise", "batch")):
        [.97468, -1.29957, .81223, .81223, -.81223, -.81223, 1.29957, -.97468],
    (("reject_equal", True), ("normalise", "off")):
        [.41667, -.58333, .375, .375, -.375, -.375, .58333, -.41667],
    (("reject_equal", True), ("normalise", "batch")):
        [.92966, -1.30152, .83669, .83669, -.83669, -.83669, 1.30152, -.92966],
    (("weighting", "size"), ("reject_equal", True), ("normalise", "off")):
        [.42857, -.57143, .41667, .41667, -.41667, -.41667, .57143, -.42857],
    (("root", False), ("normalise", "off")):
        [.375, -.625, .125, .125, -.125, -.125, .625, -.375],
    (("root", False), ("normalise", "batch")):
        [.99478, -1.65796, .33159, .33159, -.33159, -.33159, 1.65796, -.99478],
    (("root", False), ("weighting", "size"), ("normalise", "off")):
        [.33333, -.66667, .16667, .16667, -.16667, -.16667, .66667, -.33333],
    (("reject_equal", True), ("weighting", "size"), ("normalise", "batch")):
        [.92083, -1.22778, .89525, .89525, -.89525, -.89525, 1.22778, -.92083],
    (("normalise", "subgroups"),):
        [.96225, -1.34715, .57735, .57735, -.57735, -.57735, 1.34715, -.96225],
}  # fmt: skip


@pytest.mark.parametrize("settings", EXAMPLE, ids=str)
def test_the_worked_example(settings):
    (values,) = estimator(**dict(settings)).estimate([binary_tree()])
    assert values == pytest.approx(EXAMPLE[settings], abs=2e-5)


def test_the_uneven_tree_of_figure_3():
    builder = TreeBuilder("p", [1])

    def add(parent, leaf=False):
        node = builder.add_segment(parent, [1, 2], [-1, -1], 0)
        if leaf:
            builder.add_leaf(node, "eos")
        return node

    add(PROMPT, leaf=True)
    add(PROMPT, leaf=True)
    c = add(PROMPT)
    c1, c2 = add(c), add(c)
    for parent in (c1, c1, c2, c2, c2):
        add(parent, leaf=True)
    add(c, leaf=True)
    rewards = np.asarray([-1, 1, -1, -1, 1, 1, -1, -1], np.float32)
    tree = builder.build().with_rewards({}, rewards)
    (values,) = estimator(normalise="off").estimate([tree])
    expected = [-0.75, 1.25, -0.47222, -0.47222, 1.08333, 1.08333, -0.91667, -0.70833]
    assert values == pytest.approx(expected, abs=1e-5)


def test_a_lone_leaf_and_equal_rewards_give_zero():
    builder = TreeBuilder("p", [1])
    builder.add_leaf(builder.add_segment(PROMPT, [1], [-1], 0), "eos")
    lone = builder.build().with_rewards({}, np.ones(1, np.float32))
    assert estimator().estimate([lone])[0].tolist() == [0.0]
    assert not estimator().estimate([binary_tree([1] * 8)])[0].any()


@st.composite
def trees(draw):
    builder = TreeBuilder("p", [1])
    nodes, inner = [PROMPT], set()
    for _ in range(draw(st.integers(1, 14))):
        parent = draw(st.sampled_from(nodes))
        size = draw(st.integers(1, 4))
        inner.add(parent)
        nodes.append(builder.add_segment(parent, range(size), [-1.0] * size, 0))
    leaves = [node for node in nodes[1:] if node not in inner]
    for node in leaves:
        builder.add_leaf(node, "eos")
    rewards = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(leaves),
                            max_size=len(leaves)))  # fmt: skip
    return builder.build().with_rewards({}, np.asarray(rewards, np.float32))


def brute_force(tree, weighting, root, reject):
    """Section 2.2 of the reference, word by word: leaf by leaf, level by level, by prefixes."""
    paths = [tuple(tree.path(leaf)) for leaf in range(len(tree.leaves))]
    result = []
    for i, path in enumerate(paths):
        terms = []
        for level in range(len(path)):
            group = [k for k, other in enumerate(paths) if other[:level] == path[:level]]
            rewards = [float(tree.rewards[k]) for k in group]
            if len(group) < 2 or (level == 0 and not root):
                continue
            if level > 0 and reject and len(set(rewards)) == 1:
                continue
            weight = len(group) if weighting == "size" else 1
            terms.append((weight, float(tree.rewards[i]) - sum(rewards) / len(rewards)))
        total = sum(weight for weight, _ in terms)
        result.append(sum(w * term for w, term in terms) / total if total else 0.0)
    return result


@given(trees(), st.sampled_from(["average", "size"]), st.booleans(), st.booleans())
def test_raw_advantages_equal_the_brute_force(tree, weighting, root, reject):
    part = estimator(weighting=weighting, root=root, reject_equal=reject, normalise="off")
    (values,) = part.estimate([tree])
    assert values == pytest.approx(brute_force(tree, weighting, root, reject), abs=1e-6)


@given(st.lists(trees(), min_size=1, max_size=4))
def test_whitening_is_over_all_tokens_of_the_batch(batch):
    values = estimator().estimate(batch)
    raw = [brute_force(tree, "average", True, False) for tree in batch]
    tokens = np.asarray([
        value
        for tree, row in zip(batch, raw, strict=True)
        for leaf, value in enumerate(row)
        for _ in tree.leaf_tokens(leaf)
    ])  # fmt: skip
    spread = tokens.var(ddof=1) if len(tokens) > 1 else 0.0
    for tree_values, row in zip(values, raw, strict=True):
        expected = (np.asarray(row) - tokens.mean()) / np.sqrt(spread + 1e-8)
        if spread < 1e-12:
            expected = np.zeros(len(row))
        assert tree_values == pytest.approx(expected, abs=1e-4)
