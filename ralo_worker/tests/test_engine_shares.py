"""An evaluation beside rollouts on one engine: who gets how much of it, by counts."""

import asyncio
from random import Random

import pytest
from counted_engine import CountedEngine

from ralo_core import GenerationRequest
from ralo_worker.sampler.engine_shares import EngineShares

CAPACITY, HELD_OUT, TOKENS = 16, 96, 10
ROLLOUT, EVALUATION = (1,), (2,)


def request(kind, tokens=TOKENS):
    return GenerationRequest(prompt=kind, max_tokens=tokens)


class Crowd:
    """`problems` rollouts that ask for `size` requests, again and again."""

    def __init__(self, engine, problems, size=4):
        random = Random(0)
        self.tasks = [
            asyncio.create_task(self._roll(engine, size, random)) for _ in range(problems)
        ]

    async def _roll(self, engine, size, random):
        while True:
            await engine.generate([request(ROLLOUT, random.randint(5, 15)) for _ in range(size)])

    def end(self):
        for task in self.tasks:
            task.cancel()


async def evaluate(engine_shares):
    async with engine_shares.evaluating() as share:
        return await share.generate([request(EVALUATION)] * HELD_OUT)


async def steps_until(task, engine, limit=2000):
    for count in range(limit):
        if task.done():
            await task
            return count
        await engine.step()
    raise AssertionError(f"not done after {limit} steps")


def shares(problems, evaluation, rollouts):
    """Return the steps that an evaluation took and how many rollouts were done meanwhile."""

    async def scenario():
        engine = CountedEngine(CAPACITY)
        engine_shares = EngineShares(engine, 0.5)
        crowd = Crowd(rollouts(engine_shares), problems)
        for _ in range(50):
            await engine.step()
        before = len(engine.finished)
        steps = await steps_until(asyncio.create_task(evaluation(engine_shares)), engine)
        meanwhile = engine.finished[before:]
        crowd.end()
        return steps, meanwhile.count(ROLLOUT)

    return asyncio.run(scenario())


def through_lanes(problems):
    return shares(problems, evaluate, lambda engine_shares: engine_shares.rollouts)


def straight_on_the_engine(problems):
    def evaluation(engine_shares):
        return engine_shares.engine.generate([request(EVALUATION)] * HELD_OUT)

    return shares(problems, evaluation, lambda engine_shares: engine_shares.engine)


def test_an_evaluation_does_not_starve_rollouts():
    """Without shares its requests stand in a row in which rollouts find their places only at the
    end; with them both get half."""
    steps, rollouts = through_lanes(problems=5)
    _, starved = straight_on_the_engine(problems=5)
    assert starved <= 0.35 * HELD_OUT
    assert 0.8 * HELD_OUT <= rollouts <= 1.4 * HELD_OUT
    assert steps <= 1.2 * (HELD_OUT * TOKENS / (CAPACITY / 2)) + 2 * TOKENS


def test_rollouts_do_not_starve_an_evaluation():
    """However many wait, the evaluation gets its half at once."""
    few, _ = through_lanes(problems=8)
    many, _ = through_lanes(problems=400)
    crowded, _ = straight_on_the_engine(problems=400)
    assert many <= few + 4 * TOKENS
    assert crowded > 5 * many


def test_an_evaluation_begins_when_its_places_are_free():
    """Until then weights may still change; what waits for room is not waited for."""

    async def begin(engine_shares):
        async with engine_shares.evaluating():
            return engine_shares.rollouts.inside

    async def scenario():
        engine = CountedEngine(CAPACITY)
        engine_shares = EngineShares(engine, 0.5)
        crowd = Crowd(engine_shares.rollouts, problems=100)
        await engine.step()
        beginning = asyncio.create_task(begin(engine_shares))
        steps = await steps_until(beginning, engine)
        crowd.end()
        return steps, beginning.result()

    steps, inside = asyncio.run(scenario())
    assert 0 < inside <= CAPACITY / 2
    assert steps <= 4 * TOKENS


def test_what_one_does_not_ask_for_is_the_others():
    steps, _ = through_lanes(problems=0)
    assert steps <= HELD_OUT * TOKENS / CAPACITY + 1, "alone, it has the whole engine"

    async def tail():
        """One long request is left of the evaluation: rollouts take every other place."""
        engine = CountedEngine(CAPACITY)
        engine_shares = EngineShares(engine, 0.5)
        crowd = Crowd(engine_shares.rollouts, problems=8)
        async with engine_shares.evaluating() as share:
            answer = asyncio.create_task(share.generate([request(EVALUATION, 200)]))
            for _ in range(100):
                await engine.step()
            running = engine.stats().running
            assert engine_shares.rollouts.inside == CAPACITY - 1
            answer.cancel()
        crowd.end()
        return running

    assert asyncio.run(tail()) == CAPACITY


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_both_go_on_in_the_smallest_engines(capacity):
    async def scenario():
        engine = CountedEngine(capacity)
        engine_shares = EngineShares(engine, 0.05)
        crowd = Crowd(engine_shares.rollouts, problems=3)
        await steps_until(asyncio.create_task(evaluate(engine_shares)), engine, limit=5000)
        crowd.end()
        return engine.finished

    done = asyncio.run(scenario())
    assert done.count(EVALUATION) == HELD_OUT
    assert done.count(ROLLOUT) >= HELD_OUT / 4


def test_answers_come_in_order_and_no_more_is_let_in_than_there_is_room_for():
    async def scenario():
        engine = CountedEngine(4)
        engine_shares = EngineShares(engine, 0.5)
        asked = [request(ROLLOUT, tokens) for tokens in (9, 1, 5, 3, 7, 2, 8, 4, 6, 10, 12, 11)]
        task = asyncio.create_task(engine_shares.rollouts.generate(asked))
        await steps_until(task, engine)
        counts = (
            engine_shares.rollouts.asked,
            engine_shares.rollouts.inside,
            engine_shares.outside,
        )
        return [len(done.tokens) for done in task.result()], engine.most, counts

    lengths, most, counts = asyncio.run(scenario())
    assert lengths == [9, 1, 5, 3, 7, 2, 8, 4, 6, 10, 12, 11]
    assert most == 8
    assert counts == (0, 0, 0)


def test_what_is_cancelled_leaves_its_places_to_others():
    async def scenario():
        engine = CountedEngine(4)
        engine_shares = EngineShares(engine, 0.5)
        tasks = [
            asyncio.create_task(engine_shares.rollouts.generate([request(ROLLOUT, 50)] * 12))
            for _ in range(3)
        ]
        await engine.step()
        for task in tasks[:2]:
            task.cancel()
        await steps_until(tasks[2], engine, limit=165)
        return engine_shares.rollouts.asked, engine_shares.rollouts.inside

    assert asyncio.run(scenario()) == (0, 0)


def test_the_failure_of_a_request_reaches_its_caller_and_frees_its_places():
    async def scenario():
        engine = CountedEngine(4)

        async def fail(requests):
            raise ValueError("no such token")

        engine.generate = fail
        engine_shares = EngineShares(engine, 0.5)
        for count in (1, 20):
            with pytest.raises(ValueError, match="no such token"):
                await engine_shares.rollouts.generate([request(ROLLOUT)] * count)
            await asyncio.sleep(0)
        return engine_shares.rollouts.asked, engine_shares.rollouts.inside

    assert asyncio.run(scenario()) == (0, 0)
