"""The sampler with a real engine and a scripted server: scoring, failures, evaluations."""

import asyncio
import threading
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import torch
from patience import PATIENCE

from ralo_core import PROMPT, BuildContext, Problem, RaloError, TreeBuilder
from ralo_core.config import GenerationSettings, PromptSettings
from ralo_core.data import ResponseSettings
from ralo_core.errors import ServerError
from ralo_core.messages.evaluations import EvaluationShard
from ralo_core.messages.problems import LeasedProblem
from ralo_tasks.tiny_model.model import make_tiny_model
from ralo_worker.engines.transformers.engine import TransformersEngine
from ralo_worker.engines.transformers.settings import TransformersSettings
from ralo_worker.membership import Activity
from ralo_worker.prompting import Prompting, load_tokenizer
from ralo_worker.sampler.concurrency import ConcurrencyController
from ralo_worker.sampler.engine_shares import EngineShares
from ralo_worker.sampler.evaluations import Evaluations
from ralo_worker.sampler.grading import graded
from ralo_worker.sampler.in_flight import InFlight
from ralo_worker.sampler.responding import respond
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline
from ralo_worker.sampler.runtime import Sampler

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(directory, seed=0, warmup_steps=0)
    return directory


class Pair:
    """Two responses of at most four tokens."""

    max_response_tokens = 4

    async def sample(self, problem, engine, context):
        done = await engine.generate([context.request((), 4)] * 2)
        tree = TreeBuilder(problem.id, context.prompt, context.temperature)
        for item in done:
            segment = tree.add_segment(PROMPT, item.tokens, item.logprobs, item.version)
            tree.add_leaf(segment, item.finish_reason)
        return tree.build()


class Scores:
    def __init__(self, score):
        self.score = score


def rollouts(model, **rewards):
    context = BuildContext(role="sampler", model_dir=model)
    engine = TransformersEngine(TransformersSettings(), context)
    tokenizer = load_tokenizer(model)
    return RolloutPipeline(
        engine=engine,
        algorithm=Pair(),
        rewards={name: Scores(score) for name, score in rewards.items()},
        weights=dict.fromkeys(rewards, 2.0),
        prompting=Prompting(PromptSettings(), tokenizer),
        tokenizer=tokenizer,
        generation=GenerationSettings(),
        eos_token_ids=engine.eos_token_ids,
        max_length=engine.max_length,
        seed=0,
    )


PROBLEM = Problem(id="p", prompt="1+1", answer="2")


async def tree_of(made):
    return await made.score(PROBLEM, await made.sample(PROBLEM), "lease")


def test_a_tree_is_scored_by_the_weighted_sum_of_its_rewards(model):
    made = rollouts(
        model,
        length=lambda problem, responses: [float(response.tokens) for response in responses],
        half=lambda problem, responses: [0.5] * len(responses),
    )
    tree = asyncio.run(tree_of(made))
    asyncio.run(made.engine.close())
    lengths = [len(tree.leaf_tokens(leaf)) for leaf in range(2)]
    assert tree.lease_id == "lease"
    assert set(tree.metadata["seconds"]) == {"sampling", "scoring"}
    assert tree.reward_parts["length"].tolist() == lengths
    assert tree.rewards.tolist() == [2.0 * length + 1.0 for length in lengths]


@pytest.mark.parametrize("score", [[1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_a_reward_that_gives_something_else_is_named(model, score):
    made = rollouts(model, odd=lambda problem, responses: score)
    with pytest.raises(RaloError, match="reward 'odd' must give one finite number"):
        asyncio.run(tree_of(made))
    asyncio.run(made.engine.close())


def test_a_prompt_longer_than_the_model_is_named(model):
    made = rollouts(model)
    long = Problem(id="long", prompt="1" * 600, answer="2")
    with pytest.raises(RaloError, match="problem 'long': its prompt of 601 tokens"):
        made.context(long)
    asyncio.run(made.engine.close())


def job(problems, version=0, **changes):
    """Return a job that asks for two greedy responses each, unless `changes` say otherwise."""
    greedy = ResponseSettings(
        grader="strict", samples=2, temperature=0.0, top_p=1.0, top_k=0, max_tokens=0, system=""
    )
    return EvaluationShard(
        job_id="eval-0-quiz-0", lease_id="l", version=version, benchmark="quiz",
        response_settings=attrs.evolve(greedy, **changes), problems=tuple(problems),
    )  # fmt: skip


ITEMS = [Problem(id=f"p{n}", prompt=f"{n}+1", answer="x") for n in range(3)]


def evaluated(made, asked, score):
    """Return the responses to the job `asked` by the engine of `made`, graded by `score`."""

    async def asking():
        try:
            return await respond(made, made.engine, asked)
        finally:
            await made.engine.close()

    return graded(made, Scores(score), asked, asyncio.run(asking()))


def test_a_job_is_asked_as_often_as_it_says_and_graded_item_by_item(model):
    def second(problem, responses):
        return [float(problem.id == "p1"), 2.0]

    once, again = (evaluated(rollouts(model), job(ITEMS), second) for _ in range(2))
    assert once == again, "greedy responses are the same every time"
    assert [item.correct for item in once] == [(False, True), (True, True), (False, True)]
    for item in once:
        assert item.counts() == {2}
        assert item.texts[0] == item.texts[1]
        assert max(item.tokens) <= Pair.max_response_tokens
        assert item.reason == ""


def test_the_options_of_a_benchmark_reach_the_engine(model):
    made, seen = rollouts(model), []
    generate = made.engine.generate

    async def noting(requests):
        seen.extend(requests)
        return await generate(requests)

    made.engine.generate = noting
    options = {"temperature": 0.7, "top_p": 0.9, "top_k": 3, "max_tokens": 2, "samples": 3}
    items = evaluated(made, job(ITEMS[:1], system="Be brief.", **options), lambda *_: [0.0] * 3)
    assert len(seen) == 3
    for request in seen:
        asked = (request.temperature, request.top_p, request.top_k, request.max_tokens)
        assert asked == (0.7, 0.9, 3, 2)
        text = made.tokenizer.decode(request.prompt)
        assert "Be brief." in text
    assert max(items[0].tokens) <= 2


def test_an_item_that_cannot_be_asked_is_wrong_with_the_reason(model):
    long = Problem(id="long", prompt="1" * 600, answer="2")
    items = evaluated(rollouts(model), job([ITEMS[0], long, ITEMS[1]]), lambda *_: [1.0, 1.0])
    assert [item.correct for item in items] == [(True, True), (False, False), (True, True)]
    assert "its prompt of 601 tokens does not fit" in items[1].reason
    assert items[1].finish_reasons == ("error", "error")


@pytest.mark.parametrize("score", [[1.0], [1.0, float("nan")], None])
def test_a_grader_that_fails_costs_its_item_only(model, score):
    def odd(problem, responses):
        if problem.id != "p1":
            return [1.0, 0.0]
        return score if score else 1 / 0

    items = evaluated(rollouts(model), job(ITEMS), odd)
    assert [item.correct for item in items] == [(True, False), (False, False), (True, False)]
    assert items[1].reason
    assert items[1].texts[0]


def test_responses_of_another_version_are_never_handed_in(model):
    with pytest.raises(RaloError, match="version 7 was to be evaluated, but .* with {0}"):
        evaluated(rollouts(model), job(ITEMS, version=7), lambda *_: [1.0, 1.0])


def test_a_job_whose_version_is_gone_is_given_back(model):
    client, jobs = FakeClient(), [job(ITEMS, version=7)]
    client.eval_job = lambda version=None: jobs.pop() if jobs else None

    async def gone(number):
        raise ServerError(404, {"title": "no such version"})

    async def scenario():
        made = rollouts(model)
        evaluations = Evaluations(
            client=client, pipeline=made, shares=EngineShares(made.engine, 0.5),
            weights=SimpleNamespace(stage=gone), graders=None,
        )  # fmt: skip
        working = asyncio.create_task(evaluations.run())
        while not client.released:
            await asyncio.sleep(0.01)
        working.cancel()
        await made.engine.close()

    asyncio.run(scenario())
    assert client.released == [("returned", "")]


class FakeClient:
    """Hands out endless problems and remembers what comes back."""

    def __init__(self):
        self.trees, self.released, self.count, self.left = [], [], 0, 0

    def version(self, after, wait):
        return "there is one"

    def problems(self, count, wait):
        self.count += 1
        return [LeasedProblem(problem=PROBLEM, lease_id=f"lease-{self.count}", expires=0.0)]

    def upload_tree(self, tree):
        self.trees.append(tree)

    def release(self, leases, outcome, reason=""):
        self.released.append((outcome, reason))

    def eval_job(self, version=None):
        return None

    def leave(self):
        self.left += 1
        return 0


def sampler_with(made, client):
    """A sampler of two problems at once whose server is `client`; no new weights ever come."""
    activity = Activity()
    member = SimpleNamespace(
        client=client,
        activity=activity,
        stopping=threading.Event(),
        start_heartbeat=lambda: None,
        leave=client.leave,
        wait_for_first_weights=lambda: True,
    )
    sampler = Sampler(member)

    async def opened():
        sampler.shares = EngineShares(made.engine, 0.5)
        sampler.pipeline = attrs.evolve(made, engine=sampler.shares.rollouts)
        sampler.weights = SimpleNamespace(follow=asyncio.Event().wait)
        sampler.in_flight = InFlight(
            client=client, pipeline=sampler.pipeline, shares=sampler.shares,
            concurrency=ConcurrencyController(made.engine.capacity, 2), activity=activity,
        )  # fmt: skip
        sampler.evaluations = Evaluations(
            client=client, pipeline=sampler.pipeline, shares=sampler.shares,
            weights=sampler.weights, graders=None,
        )  # fmt: skip

    sampler._open = opened
    return sampler


def test_five_failures_in_a_row_end_the_sampler_with_the_reason(model):
    def broken(problem, responses):
        raise ValueError("my reward is broken")

    client = FakeClient()
    made = rollouts(model, broken=broken)

    async def scenario():
        await sampler_with(made, client).run()

    with pytest.raises(RaloError, match="5 problems in a row failed.*my reward is broken"):
        asyncio.run(scenario())
    outcome, reason = client.released[0]
    assert outcome == "failed"
    assert reason == "ValueError: my reward is broken"


def test_a_stopped_sampler_leaves_and_loses_nothing_that_it_began(model):
    client = FakeClient()
    made = rollouts(model, fine=lambda problem, responses: np.ones(len(responses)))

    async def scenario():
        sampler = sampler_with(made, client)

        async def stop_soon():
            while len(client.trees) < 3:
                await asyncio.sleep(0.01)
            sampler.stop()

        await asyncio.gather(sampler.run(), stop_soon())
        return sampler

    sampler = asyncio.run(scenario())
    assert len(client.trees) >= 3
    assert sampler.member.activity.tokens >= 3 * 2
    assert client.left == 1
    assert client.released == [], "leaving gives everything back"


def test_a_stopped_sampler_hands_in_what_was_sampled_and_begins_no_more(model):
    client, scoring, go_on = FakeClient(), threading.Event(), threading.Event()

    def slow(problem, responses):
        scoring.set()
        assert go_on.wait(PATIENCE)
        return np.ones(len(responses))

    made = rollouts(model, slow=slow)
    handed_in = []

    async def scenario():
        sampler = sampler_with(made, client)

        async def stop_while_scoring():
            await asyncio.to_thread(scoring.wait)
            sampler.stop()
            await asyncio.sleep(0.1)  # it is told to stop, and waits
            handed_in.append((len(client.trees), client.left, client.count))
            go_on.set()

        await asyncio.gather(sampler.run(), stop_while_scoring())

    asyncio.run(scenario())
    ((before, left, leased),) = handed_in
    assert (before, left) == (0, 0)
    assert 1 <= len(client.trees) <= 2
    assert client.left == 1
    assert client.count <= leased + 1
