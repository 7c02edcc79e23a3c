"""The conformance kit says what is wrong with a component that breaks its contract."""

import itertools
import json
import types

import numpy as np
import pytest

from ralo_core import Component, Problem, hookimpl
from ralo_core.builtin.codecs import Bfloat16Codec, Float32Codec
from ralo_core.config import BenchmarkSettings
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.testing import (
    check_advantage_estimator,
    check_aggregator,
    check_benchmark,
    check_component,
    check_correction,
    check_gradient_codec,
    check_optimizer,
    check_problem_provider,
    check_reward,
    check_sampling_algorithm,
    random_tree,
)


class Provider:
    """Counts; each fault breaks one promise."""

    def __init__(self, fault=""):
        self.fault, self.next = fault, 0

    def __iter__(self):
        while True:
            self.next += 1
            yield self.problem(1 if self.fault == "same id" else self.next)

    def problem(self, number):
        return Problem(id=f"p{number}", prompt=f"q{number}", answer="a")

    def state(self):
        return {"next": self.next}

    def restore(self, state):
        self.next = state["next"] + (self.fault == "skips one")

    def held_out(self, count):
        start = 3 if self.fault == "not held out" else -count
        return [self.problem(start + index) for index in range(count)]


def test_a_good_provider_passes():
    check_problem_provider(Provider)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("same id", "ids of problems must be unique"),
        ("skips one", "make it continue with the next one"),
        ("not held out", "must never be yielded for training"),
    ],
)
def test_a_provider_that_breaks_a_promise(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_problem_provider(lambda: Provider(fault))


class Rewarding:
    def __init__(self, score):
        self.score = score


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda problem, responses: [1.0], "one number per response"),
        (lambda problem, responses: [float("nan") for _ in responses], "finite number"),
        (lambda problem, responses: ["1" for _ in responses], "finite number"),
        (
            lambda problem, responses: [float(i) for i, _ in enumerate(responses)],
            "order of the responses",
        ),
    ],
)
def test_a_reward_that_breaks_a_promise(score, message):
    check_reward(Rewarding(lambda problem, responses: [float(a.tokens) for a in responses]))
    with pytest.raises(AssertionError, match=message):
        check_reward(Rewarding(score))


class Asking:
    """Two items; each fault breaks one promise."""

    def __init__(self, fault="", **options):
        self.fault, self.asked = fault, 0
        self.settings = {} if fault == "settings" else BenchmarkSettings(**options)
        self.grader = {"no grader": None, "no name": "the grader"}.get(fault, "exact")

    def items(self):
        self.asked += 1
        last = "p0" if self.fault == "same id" else f"p{self.asked}" * (self.fault == "other items")
        items = [
            Problem(id=name, prompt="" if self.fault == "no prompt" else "?", answer="a")
            for name in ("p0", last or "p1")
        ]
        if self.fault == "no item":
            return []
        return items if self.fault == "no limit" else self.settings.chosen(items)

    def prediction(self, problem, text):
        self.asked += 1
        found = {"no text": None, "other text": f"{self.asked}"}
        return found.get(self.fault, text[:1])

    def reference(self, problem):
        return None if self.fault == "no reference" else problem.answer


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("settings", "BenchmarkSettings or inherit from it, not dict"),
        ("no grader", "the name of a reward component"),
        ("no name", "the name of a reward component, got 'the grader'"),
        ("no item", "at least one item"),
        ("no reference", r"reference\(\) must return text"),
        ("no prompt", "item 'p0' asks nothing"),
        ("same id", "ids of items must be unique"),
        ("other items", "the same every time"),
        ("no limit", "keep to the option limit"),
        ("no text", "prediction.. must return text"),
        ("other text", "the same for the same text"),
    ],
)
def test_a_benchmark_that_breaks_a_promise(fault, message):
    options = {"limit": 1} if fault == "no limit" else {}
    check_benchmark(Asking(**options))
    with pytest.raises(AssertionError, match=message):
        check_benchmark(Asking(fault, **options))


class Estimating:
    def __init__(self, estimate):
        self.estimate = estimate


def centred(trees):
    return [(tree.rewards - tree.rewards.mean()).astype(np.float32) for tree in trees]


counter = itertools.count()


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        (lambda trees: centred(trees)[:1], "one array per tree"),
        (lambda trees: [value.astype(np.float64) for value in centred(trees)], "float32"),
        (lambda trees: [value[:-1] for value in centred(trees)], "needs as many"),
        (lambda trees: [value[:, None] for value in centred(trees)], "advantages per segment"),
        (lambda trees: [tree.rewards for tree in trees], "lone leaf"),
        (lambda trees: [value + np.float32(next(counter)) for value in centred(trees)], "no state"),
        (lambda trees: [value * np.float32(np.inf) for value in centred(trees)], "finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_estimator_that_breaks_a_promise(estimate, message):
    check_advantage_estimator(Estimating(centred))
    with pytest.raises(AssertionError, match=message):
        check_advantage_estimator(Estimating(estimate))


class Sampling:
    """One response; each fault breaks one promise."""

    max_response_tokens = 20

    def __init__(self, fault=""):
        self.fault = fault

    async def sample(self, problem, engine, context):
        from ralo_core import PROMPT, TreeBuilder

        most = 100 if self.fault == "too long" else self.max_response_tokens
        request = context.request((), most)
        if self.fault == "own temperature":
            import attrs

            request = attrs.evolve(request, temperature=1.0)
        (done,) = await engine.generate([request])
        prompt = (1, 2) if self.fault == "prompt" else context.prompt
        tree = TreeBuilder(problem.id, prompt, context.temperature)
        logprobs = done.logprobs * (0 if self.fault == "logprobs" else 1)
        version = 0 if self.fault == "version" else done.version
        segment = tree.add_segment(PROMPT, done.tokens, logprobs, version)
        tree.add_leaf(segment, "length" if self.fault == "reason" else done.finish_reason)
        return tree.build()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("too long", "exceeds 20"),
        ("own temperature", r"context.request\(\)"),
        ("prompt", "keep the prompt"),
        ("logprobs", "must keep the log-prob"),
        ("version", "version of its completion"),
        ("reason", "exactly where its last token"),
    ],
)
def test_a_sampling_algorithm_that_breaks_a_promise(fault, message):
    check_sampling_algorithm(Sampling())
    with pytest.raises(AssertionError, match=message):
        check_sampling_algorithm(Sampling(fault))


class Coarse(Float32Codec):
    def encode(self, name, value):
        return {"": np.sign(value)}


def test_a_codec_that_loses_too_much():
    check_gradient_codec(Bfloat16Codec(None, None))
    with pytest.raises(AssertionError, match="too much"):
        check_gradient_codec(Coarse(None, None))


class Hiding(Float32Codec):
    def encode(self, name, value):
        return {"": np.nan_to_num(value)}


def test_a_codec_that_hides_what_is_not_finite_from_the_server():
    with pytest.raises(AssertionError, match="nan must decode to values that are not finite"):
        check_gradient_codec(Hiding(None, None))


class Aggregating:
    def __init__(self, weigh=None, combine=None):
        self.weigh = weigh or (lambda gradients, current: [1.0 for _ in gradients])
        self.combine = combine or (lambda values, weights: values.mean(axis=0))


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"weigh": lambda gradients, current: [1.0]}, "one weight per gradient"),
        ({"weigh": lambda gradients, current: [-1.0 for _ in gradients]}, "turn a gradient round"),
        ({"weigh": lambda gradients, current: [float("nan") for _ in gradients]}, "be finite"),
        ({"combine": lambda values, weights: values.mean(axis=0, dtype="f8")}, "return float32"),
        ({"combine": lambda values, weights: values.mean(axis=1)}, "value per column"),
        ({"combine": lambda values, weights: values[0] / values.max()}, "column by itself"),
        ({"combine": lambda values, weights: values.sum(axis=0)}, "must be that gradient"),
    ],
)
def test_an_aggregation_that_breaks_a_promise(faults, message):
    check_aggregator(Aggregating())
    with pytest.raises(AssertionError, match=message):
        check_aggregator(Aggregating(**faults))


class Optimizing:
    """Gradient descent; `factor` says what the whole gradient does to each of its values."""

    max_grad_norm = None

    def __init__(self, factor=lambda gradient: 1.0, rate=0.1, state=None):
        self.factor, self.rate, self.state = factor, rate, state

    def build(self, named_parameters):
        torch = pytest.importorskip("torch")
        factor, state = self.factor, self.state

        class Descent(torch.optim.Optimizer):
            @torch.no_grad()
            def step(self, closure=None):
                for group in self.param_groups:
                    for parameter in group["params"]:
                        update = parameter.grad * factor(parameter.grad)
                        parameter.add_(update, alpha=-group["lr"])
                        if state is not None:
                            self.state[parameter]["kept"] = torch.zeros(state)

        return Descent([parameter for _, parameter in named_parameters], {"lr": 0.1})

    def learning_rate(self, step):
        return self.rate


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"factor": lambda gradient: 1.0 / float(gradient.norm())}, "must be elementwise"),
        ({"factor": lambda gradient: -1.0}, "against the gradient"),
        ({"rate": float("inf")}, "must be finite"),
        ({"rate": -1.0}, "must not be negative"),
        ({"state": 3}, "state 'kept' must have the parameter's size"),
    ],
)
def test_an_optimizer_that_breaks_a_promise(faults, message):
    check_optimizer(Optimizing())
    with pytest.raises(AssertionError, match=message):
        check_optimizer(Optimizing(**faults))


class Scaling(Optimizing):
    def __init__(self, factor):
        super().__init__()
        self.rate_factor = lambda metrics: factor


def test_an_optimizer_that_scales_its_steps_by_what_is_no_factor():
    check_optimizer(Scaling(0.0))
    for factor, message in ((float("nan"), "must be finite"), (-1.0, "must not be negative")):
        with pytest.raises(AssertionError, match=f"the rate factor {message}"):
            check_optimizer(Scaling(factor))


class Surveying:
    """Weighs by the largest log-ratio of `some` of the parts that it is shown."""

    def __init__(self, some):
        self.some = some

    def survey(self, parts):
        self.most = max(float(log_ratio.max()) for log_ratio, _ in parts[self.some])

    def weigh(self, log_ratio, batch):
        return log_ratio * 0 + self.most


def test_a_correction_whose_survey_depends_on_the_cut():
    check_correction(Surveying(slice(None)))
    with pytest.raises(AssertionError, match=r"survey\(\) records must not depend"):
        check_correction(Surveying(slice(0, 1)))


class LookingAround:
    def weigh(self, log_ratio, batch):
        return log_ratio.exp() / log_ratio.exp().mean()


def test_a_correction_that_looks_at_other_rows():
    with pytest.raises(AssertionError, match="must not depend on the other rows"):
        check_correction(LookingAround())


def test_random_trees_are_valid_and_the_same_for_a_seed():
    for seed in range(30):
        tree = random_tree(seed).validate()
        assert tree.tokens.tolist() == random_tree(seed).tokens.tolist()
        json.dumps(dict(tree.metadata))


def test_the_registry_fixture_has_the_built_in_components(ralo_registry):
    assert "arithmetic" in ralo_registry.entries("problem_provider")


class Tracking:
    """Writes a file; each fault does so where nothing may be written yet."""

    def __init__(self, folder, fault):
        self.file, self.fault, self.used = folder / "log", fault, False
        if fault == "when built":
            self.file.touch()

    def log(self, step, metrics):
        self.used = True
        self.file.touch()

    def close(self):
        if self.used or self.fault == "when closed unused":
            self.file.touch()


@pytest.mark.parametrize("fault", ["", "when built", "when closed unused"])
def test_a_tracker_writes_nothing_before_its_first_record(fault):
    component = Component(
        name="files", factory=lambda settings, context: Tracking(context.run_dir, fault)
    )
    host = PluginHost()
    plugin = types.ModuleType("tracking")
    plugin.ralo_register_trackers = hookimpl(lambda: [component])
    host.register(plugin, "tracking")
    if not fault:
        check_component("tracker", "files", registry=Registry(host))
        return
    with pytest.raises(AssertionError, match="write nothing into the run directory"):
        check_component("tracker", "files", registry=Registry(host))
