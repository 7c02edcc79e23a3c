"""The tree sampler on a scripted engine: budget, sharing, fallback, limits."""

import asyncio
from collections import Counter
from random import Random

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import BuildContext, Completion, Problem, RaloError, SamplingContext
from ralo_treepo.budget import fallback_width, round_width, split_evenly
from ralo_treepo.sampler import TreeSampler
from ralo_treepo.settings import TreeSamplerSettings

EOS = 0
PROMPT = (7, 8, 9)


class ScriptedEngine:
    """Ends a response with `p_end` per token; records every request; tokens are all different,
    so that two equal tokens prove a shared prefix."""

    def __init__(self, seed, p_end):
        self.random, self.p_end = Random(seed), p_end
        self.version = 0
        self.requests, self.decoded = [], 0

    async def generate(self, requests):
        self.requests += requests
        self.version += 1
        return [self._complete(request) for request in requests]

    def _complete(self, request):
        tokens = []
        while len(tokens) < request.max_tokens:
            self.decoded += 1
            if self.random.random() < self.p_end:
                tokens.append(EOS)
                break
            tokens.append(self.decoded + 100)
        done = bool(tokens) and tokens[-1] == EOS
        return Completion(
            tokens=np.asarray(tokens, np.int32),
            logprobs=-np.asarray(tokens, np.float32) - 1,
            finish_reason="eos" if done else "length",
            version=self.version,
            entropies=np.ones(len(tokens), np.float32) if request.entropies else None,
        )


def sample(engine, seed=0, max_tokens=10_000, decode=str, **settings):
    sampler = TreeSampler(TreeSamplerSettings(**settings), BuildContext(role="sampler"))
    context = SamplingContext(
        prompt=PROMPT, eos_token_ids=frozenset([EOS]), temperature=1.0, top_p=1.0, top_k=0,
        max_tokens=max_tokens, random=Random(seed), decode=decode,
    )  # fmt: skip
    problem = Problem(id="p", prompt="x", answer="y")
    return asyncio.run(sampler.sample(problem, engine, context))


settings = st.fixed_dictionaries(
    {
        "width": st.integers(1, 12),
        "depth": st.integers(1, 5),
        "segment_tokens": st.integers(1, 6),
        "branch": st.integers(1, 4),
        "init_branch_min": st.integers(1, 3),
        "init_branch_max": st.integers(3, 9),
        "split": st.sampled_from(["even", "logprob", "entropy"]),
        "fallback": st.sampled_from(["random", "uncertain", "certain", "restart"]),
        "fallback_from": st.sampled_from(["answered", "any", "longest"]),
        "fallback_segments": st.integers(0, 2),
    }
)


@given(settings, st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_every_tree_has_exactly_its_width_and_keeps_every_limit(options, seed, p_end):
    engine = ScriptedEngine(seed, p_end)
    tree = sample(engine, seed, **options)
    assert len(tree.leaves) == options["width"]
    limit = options["depth"] * options["segment_tokens"]
    for leaf, reason in enumerate(tree.finish_reasons):
        tokens = tree.leaf_tokens(leaf)
        assert 1 <= len(tokens) <= limit
        assert len(tree.path(leaf)) <= options["depth"]
        assert (tokens[-1] == EOS) == (reason == "eos")
        assert EOS not in tokens[:-1]
    assert engine.decoded == len(tree.tokens), "every decoded token is in the tree, once"


@given(settings, st.integers(0, 10**6), st.floats(0.0, 0.6))
def test_a_request_is_always_the_prompt_and_the_kept_response(options, seed, p_end):
    """The release resumes from a cut response with the uncut prompt; ours cannot."""
    engine = ScriptedEngine(seed, p_end)
    tree = sample(engine, seed, **options)
    asked = [request.prompt for request in engine.requests]
    for segment, parent in enumerate(tree.parents):
        node, kept = int(parent), []
        while node >= 0:
            kept = [*tree.tokens[tree.segment(node)], *kept]
            node = int(tree.parents[node])
        assert asked[segment] == (*PROMPT, *kept)
        assert tree.versions[segment] >= 1


def test_without_early_ends_the_tree_doubles_until_its_width():
    engine = ScriptedEngine(0, 0.0)
    tree = sample(engine, width=8, depth=4, segment_tokens=3)
    depths = [len(tree.path(leaf)) for leaf in range(8)]
    assert depths == [4] * 8
    assert len(tree.parents) == 2 + 4 + 8 + 8
    assert set(tree.finish_reasons) == {"length"}
    assert tree.metadata == {"rounds": 4, "fallbacks": 0}


def test_fallback_resumes_an_answered_path_at_a_segment_boundary():
    resumed = 0
    for seed in range(10):
        tree = sample(ScriptedEngine(seed, 0.4), seed, width=16, depth=6, segment_tokens=2)
        resumed += tree.metadata["fallbacks"]
        inner = {int(parent) for parent in tree.parents if parent >= 0}
        answered = {int(leaf) for leaf in tree.leaves}
        assert not inner & answered, "nothing continues after an end of sequence"
    assert resumed > 0


class Typist:
    """Writes `text` one letter a token, or ends at once where the response has all of it."""

    version = 0

    def __init__(self, text):
        self.text = text

    async def generate(self, requests):
        return [self._complete(request) for request in requests]

    def _complete(self, request):
        done = len(request.prompt) - len(PROMPT)
        letters = self.text[done : done + request.max_tokens]
        ended = len(letters) < request.max_tokens
        tokens = [ord(letter) for letter in letters] + [EOS] * ended
        return Completion(
            tokens=np.asarray(tokens, np.int32),
            logprobs=np.full(len(tokens), -0.5, np.float32),
            finish_reason="eos" if ended else "length",
            version=0,
        )


def spelled(tokens):
    return "".join(chr(token) for token in tokens if token != EOS)


def reasons(text, **settings):
    tree = sample(Typist(text), decode=spelled, width=4, fallback="off", **settings)
    return set(tree.finish_reasons)


def test_a_boxed_answer_ends_a_path_before_its_end_of_sequence():
    text = r"so it is \boxed{42}, I am sure. And another thing"
    options = {"segment_tokens": 12, "depth": 9}
    assert reasons(text, **options) == {"boxed"}
    assert reasons(text, stop_boxed=False, **options) == {"eos"}


def test_a_loop_ends_a_path_and_the_order_of_the_tests_gives_it_its_name():
    loop = "abcdefghijklmnopqrstuvwxyz 0123456789 " * 8 + r"\boxed{1}"
    options = {"segment_tokens": 200, "depth": 4}
    assert reasons(loop, **options) == {"repetition"}
    assert reasons(loop, stop_repetition="last", **options) == {"boxed"}
    assert reasons(loop[:-9] * 3, stop_repetition="last", **options) == {"repetition"}
    assert reasons(loop, stop_repetition="off", **options) == {"boxed"}


def test_the_token_limit_may_lie_below_depth_times_segment():
    tree = sample(ScriptedEngine(0, 0.0), width=4, depth=9, segment_tokens=4, response_tokens=10)
    assert {len(tree.leaf_tokens(leaf)) for leaf in range(4)} == {10}
    assert set(tree.finish_reasons) == {"length"}


def test_fallback_by_log_prob_redoes_the_segments_that_it_names():
    """Segment 2 of 4 is improbable: `uncertain` resumes before it, `certain` never does."""
    logprobs = [-0.1, -40.0, -0.1, -0.1]

    class Engine(Typist):
        def _complete(self, request):
            done = super()._complete(request)
            place = (len(request.prompt) - len(PROMPT)) // request.max_tokens
            value = np.full(len(done.tokens), logprobs[min(place, 3)], np.float32)
            return attrs.evolve(done, logprobs=value)

    for fallback, expected in (("uncertain", {1}), ("certain", {0, 2, 3})):
        resumed = set()
        for seed in range(20):
            tree = sample(
                Engine("12345678901"), seed, decode=spelled, width=3, depth=4, segment_tokens=3,
                init_branch_min=1, init_branch_max=1, branch=1, fallback=fallback,
            )  # fmt: skip
            firsts = {int(node) for node in tree.parents[4:]} & set(range(-1, 4))
            resumed |= {node + 1 for node in firsts}
        assert resumed == expected


def test_a_resumed_path_loses_at_most_so_many_segments():
    for seed in range(20):
        tree = sample(
            Typist("123456789"), seed, decode=spelled, width=6, depth=4, segment_tokens=3,
            init_branch_min=1, init_branch_max=1, branch=1, fallback_segments=1,
        )  # fmt: skip
        assert sum(parent < 0 for parent in tree.parents) == 1, "nothing starts at the prompt again"


class TwoMinds(Typist):
    """Writes until told to stop; the first response of a tree is sure of itself, others are not."""

    def __init__(self):
        super().__init__("x" * 1000)
        self.requests, self.answered = [], 0

    async def generate(self, requests):
        self.requests += requests
        return await super().generate(requests)

    def _complete(self, request):
        done = super()._complete(request)
        self.answered += 1
        first = len(request.prompt) == len(PROMPT)
        sure = self.answered == 1 if first else request.prompt[len(PROMPT)] == ord("a")
        tokens = np.full(len(done.tokens), ord("a" if sure else "b"), np.int32)
        entropies = np.full(len(tokens), 0.1 if sure else 3.0, np.float32)
        asked = entropies if request.entropies else None
        return attrs.evolve(done, tokens=tokens, entropies=asked)


@pytest.mark.parametrize(("prefer", "sure"), [("low", 1), ("high", 7)])
def test_the_entropy_split_widens_the_tree_where_the_policy_is_of_two_minds(prefer, sure):
    tree = sample(
        TwoMinds(), decode=spelled, width=8, depth=2, segment_tokens=4, branch=8, split="entropy",
        split_prefer=prefer, split_temperature=0.2, stop_repetition="off",
    )  # fmt: skip
    below = Counter(chr(tree.leaf_tokens(leaf)[0]) for leaf in range(8))
    assert below == {"a": sure, "b": 8 - sure}


@pytest.mark.parametrize("split", ["even", "logprob", "entropy"])
def test_entropies_are_asked_for_only_by_the_split_that_looks_at_them(split):
    engine = TwoMinds()
    sample(engine, decode=spelled, width=4, depth=2, segment_tokens=4, split=split)
    assert {request.entropies for request in engine.requests} == {split == "entropy"}


def test_an_engine_without_entropies_is_named_with_the_option_that_needs_them():
    with pytest.raises(RaloError, match=r"sampling.treepo.split is 'entropy'.*engine Typist"):
        sample(Typist("text"), decode=spelled, width=2, split="entropy")


def test_fallback_off_stops_below_the_width():
    tree = sample(ScriptedEngine(0, 1.0), width=8, depth=4, segment_tokens=3, fallback="off")
    assert len(tree.leaves) == 2


def test_the_context_of_the_model_bounds_the_response():
    tree = sample(ScriptedEngine(0, 0.0), max_tokens=7, width=4, depth=4, segment_tokens=3)
    assert {len(tree.leaf_tokens(leaf)) for leaf in range(4)} == {7}


def test_more_initial_divergence_is_drawn_from_its_range():
    firsts = {
        int((sample(ScriptedEngine(0, 0.0), seed, init_branch_max=8, width=16).parents < 0).sum())
        for seed in range(60)
    }
    assert firsts == set(range(2, 9))


def test_width_one_is_plain_sampling():
    engine = ScriptedEngine(0, 0.0)
    tree = sample(engine, width=1, depth=3, segment_tokens=4)
    assert len(engine.requests) == 3
    assert len(tree.leaf_tokens(0)) == 12


@given(
    st.integers(1, 20), st.integers(0, 20), st.integers(0, 9), st.integers(1, 9), st.integers(1, 4)
)
def test_round_width_as_the_reference_states_it(width, leaves, ended, alive, branch):
    total = round_width(width, leaves, ended, alive, branch)
    assert total == max(min(max(width - leaves, 0), branch * ended + branch * alive), alive)
    copies = split_evenly(total, alive)
    assert sum(copies) == total
    assert max(copies) - min(copies) <= 1


@pytest.mark.parametrize(
    ("missing", "candidates", "expected"), [(5, 2, [2, 2]), (3, 4, [2, 1, 0, 0]), (1, 1, [1])]
)
def test_fallback_gives_each_candidate_the_branching_factor(missing, candidates, expected):
    assert fallback_width(missing, candidates, 2) == expected
