"""Which paths are resumed, and where they are cut."""

import math
from collections import Counter
from random import Random

import attrs
import pytest
from example_paths import path

from ralo_treepo.fallback import resumption_points
from ralo_treepo.path import Path
from ralo_treepo.settings import TreeSamplerSettings

PROMPT = Path()
SHORT, LONG, CUT = path([-1.0]), path([-1.0] * 2, [-1.0] * 7), path([-1.0], [-1.0])
LEAVES = [(SHORT, "boxed"), (LONG, "eos"), (CUT, "length")]


def points(leaves=LEAVES, seed=0, **settings):
    return resumption_points(leaves, PROMPT, TreeSamplerSettings(**settings), Random(seed))


@pytest.mark.parametrize(("which", "count"), [("answered", 2), ("any", 3), ("longest", 3)])
def test_candidates(which, count):
    assert len(points(fallback_from=which)) == count


def test_without_a_candidate_the_prompt_is_where_to_start():
    assert points([(CUT, "length"), (CUT, "depth"), (CUT, "repetition")]) == [PROMPT]
    assert points(fallback="restart") == [PROMPT]


def test_longest_draws_in_proportion_to_the_length():
    """Each leaf hangs at a prompt of its own, by which it is told apart."""
    one, three = (attrs.evolve(path([-1.0] * tokens), parent=Path()) for tokens in (1, 3))
    leaves = [(one, "eos"), (three, "eos")]
    firsts = [points(leaves, seed, fallback_from="longest")[0] for seed in range(2000)]
    longer = sum(first is three.parent for first in firsts)
    assert longer / len(firsts) == pytest.approx(0.75, abs=0.04)


def test_every_boundary_of_a_path_is_as_likely():
    leaf = path([-1.0], [-9.0], [-1.0], [-1.0])
    depths = Counter(points([(leaf, "eos")], seed)[0].depth for seed in range(4000))
    assert sorted(depths) == [0, 1, 2, 3]
    assert all(abs(count / 4000 - 0.25) < 0.03 for count in depths.values())


@pytest.mark.parametrize(("fallback", "sign"), [("uncertain", 1), ("certain", -1)])
def test_the_cut_goes_by_the_softmax_of_mean_log_probs(fallback, sign):
    leaf = path([0.0, 0.0], [-2.0, -2.0], [0.0], [0.0])
    cuts = [points([(leaf, "eos")], seed, fallback=fallback)[0].depth for seed in range(3000)]
    expected = math.exp(2 * sign) / (math.exp(2 * sign) + 3)
    assert cuts.count(1) / len(cuts) == pytest.approx(expected, abs=0.03)


def test_a_bound_on_the_segments_lost():
    leaf = path([-1.0], [-1.0], [-1.0], [-1.0])
    depths = {points([(leaf, "eos")], seed, fallback_segments=2)[0].depth for seed in range(60)}
    assert depths == {2, 3}
