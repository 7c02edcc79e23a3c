"""What a worker says it has spent: all of its time, as work, as waiting, as evaluation."""

import asyncio

import pytest
from counted_engine import CountedEngine

from ralo_core import GenerationRequest
from ralo_worker.membership import Activity, Timer, compute_facts
from ralo_worker.sampler.engine_shares import EngineShares
from ralo_worker.trainer.phases import Phases


def total(facts):
    return sum(
        spent["working_seconds"] + spent["waiting_seconds"] for spent in facts["roles"].values()
    )


def test_the_whole_time_counts_on_every_device():
    activity = Activity(started=100.0, working_seconds=6.0, waiting_seconds=1.0, tokens=30)
    activity.devices = 4
    facts = compute_facts("trainer", activity, now=110.0)
    assert facts["roles"] == {
        "trainer": {"working_seconds": 24.0, "waiting_seconds": 16.0, "tokens": 30}
    }, "what was booked as neither, such as opening the model, was no work"
    assert total(facts) == facts["age_seconds"] * facts["devices"] == 40.0


def test_evaluation_is_a_role_of_its_own():
    activity = Activity(
        started=0.0, working_seconds=4.0, evaluating_seconds=3.0, tokens=5, decoded_tokens=7,
        evaluated_tokens=9,
    )  # fmt: skip
    facts = compute_facts("sampler", activity, now=10.0)
    assert facts["roles"] == {
        "sampler": {"working_seconds": 4.0, "waiting_seconds": 3.0, "tokens": 7},
        "benchmark": {"working_seconds": 3.0, "waiting_seconds": 0.0, "tokens": 9},
    }
    assert total(facts) == facts["age_seconds"]


def test_work_under_way_counts_before_it_ends_and_once_after(monkeypatch):
    now = [50.0]
    monkeypatch.setattr("ralo_worker.trainer.phases.time.monotonic", lambda: now[0])
    activity = Activity(started=50.0)
    phases = Phases(activity)

    def worked():
        return compute_facts("trainer", activity, now[0])["roles"]["trainer"]["working_seconds"]

    with phases("waiting"):
        now[0] += 2.0
        assert worked() == 0.0
    with phases("compute"):
        now[0] += 5.0
        assert worked() == 5.0, "a trainer that is killed in a long batch has reported most of it"
    assert worked() == 5.0
    with phases("encode"):  # beside the main thread
        now[0] += 1.0
    assert worked() == 5.0


def test_the_time_of_a_sampler_is_split_by_the_timer(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ralo_worker.membership.time.monotonic", lambda: now[0])
    activity = Activity()
    timer = Timer(activity)
    now[0] += 8.0
    timer.spent(working=0.5, evaluating=0.25)
    assert activity.evaluating_seconds == 2.0
    assert activity.working_seconds == activity.waiting_seconds == 3.0


def request(tokens):
    return GenerationRequest(prompt=(1,), max_tokens=tokens)


def test_lanes_say_which_part_of_the_engine_is_evaluating_and_what_each_has_decoded():
    async def scenario():
        engine = CountedEngine(8)
        shares = EngineShares(engine, 0.5)
        parts = [shares.evaluation_part]
        rollouts = asyncio.create_task(shares.rollouts.generate([request(6)] * 3))
        await engine.step()
        parts.append(shares.evaluation_part)
        async with shares.evaluating() as lane:
            held_out = asyncio.create_task(lane.generate([request(9)]))
            await engine.step()
            parts.append(shares.evaluation_part)
            for _ in range(6):
                await engine.step()
            parts.append(shares.evaluation_part)
            dropped = asyncio.create_task(lane.generate([request(50)]))
            await engine.step()
            dropped.cancel()
            for _ in range(6):
                await engine.step()
        assert rollouts.done()
        assert held_out.done()
        parts.append(shares.evaluation_part)
        return parts, shares.rollouts.decoded, shares.evaluation.decoded

    parts, sampled, evaluated = asyncio.run(scenario())
    assert parts == pytest.approx([0.0, 0.0, 0.25, 1.0, 0.0])
    assert (sampled, evaluated) == (18, 9)
