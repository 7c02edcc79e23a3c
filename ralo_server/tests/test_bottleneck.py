"""The sentence on what limits a run: its rule, its window of 30 seconds, and where it is sent."""

from collections.abc import Mapping
from types import SimpleNamespace

import attrs
import pytest
from run_stats import run_stats

from ralo_core.data import EngineReport
from ralo_core.messages.stats import WorkerStats
from ralo_server.web.live import current_stats, waiting_window
from ralo_server.web.live.current_stats import CurrentStats


def worker(name, working=0.0, waiting=0.0, *, role=None, engine=None, alive=True):
    """Return a worker whose role its name begins with."""
    return WorkerStats(
        id=name, role=role or {"s": "sampler", "t": "trainer"}[name[0]], version=3, tokens=10,
        seen_seconds_ago=1.0, alive=alive, state="alive" if alive else "lost", host="h",
        working_seconds=working, waiting_seconds=waiting, engine=engine,
    )  # fmt: skip


def engine(used, capacity=64):
    return EngineReport(
        capacity=capacity, running=40, waiting=2, tokens_per_second=1234.4, utilisation=used,
        cache_hits=0.31, decoded_tokens=9, prompt_tokens=8, cached_tokens=4,
    )  # fmt: skip


def state(**changes):
    """Return a run at work in which `changes` are otherwise; mappings change single counts."""
    base = run_stats(
        step=3, version=3, batch_trees=32, workers=(worker("s"), worker("t")),
        trees=attrs.evolve(run_stats().trees, queued=60, leased=32, trained=96, capacity=64),
        problems=attrs.evolve(run_stats().problems, issued=9, leased=4, done=5),
        batches=attrs.evolve(run_stats().batches, leased=1),
    )  # fmt: skip
    parts = {
        name: attrs.evolve(getattr(base, name), **value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return attrs.evolve(base, **parts)


@pytest.fixture
def watched(monkeypatch):
    """A web process whose store has the state that a test puts there, at the time it says."""
    clock = SimpleNamespace(monotonic=lambda: process.time)
    process = SimpleNamespace(time=1000.0, state=state(), stats=CurrentStats(None))
    monkeypatch.setattr(current_stats, "present_state", lambda store: process.state)
    monkeypatch.setattr(waiting_window, "time", clock)

    def said(*, after=0.0, **changes):
        process.time += after
        process.state = state(**changes)
        return process.stats.now().bottleneck

    process.said = said
    return process


@pytest.fixture
def said_of(watched):
    """Return a function: the sentence ten seconds after a state in which nobody had done
    anything."""

    def said(**changes):
        watched.said()
        return watched.said(after=10.0, **changes)

    return said


@pytest.mark.parametrize(
    ("sampler", "trainer", "expected"),
    [((1.0, 9.0), (10.0, 0.0), "trainer-bound"), ((10.0, 0.0), (2.0, 8.0), "sampler-bound"),
     ((9.0, 1.0), (9.0, 1.0), "balanced")],
)  # fmt: skip
def test_who_waits_tells_the_bottleneck(said_of, sampler, trainer, expected):
    later = (worker("s", *sampler), worker("t", *trainer))
    assert said_of(workers=later, trees={"queued": 32}).startswith(expected)


@pytest.mark.parametrize(
    ("used", "out", "expected"),
    [(0.95, 4, "add a sampler"), (0.2, 60, "raise server.queued_trees"),
     (0.2, 4, "raise sampler.problems_in_flight")],
)  # fmt: skip
def test_a_sampler_that_is_not_full_needs_something_else_than_another(said_of, used, out, expected):
    later = (worker("s", 10.0, engine=engine(used)), worker("t", 2.0, 8.0))
    sentence = said_of(workers=later, trees={"queued": 0}, problems={"leased": out})
    assert sentence.startswith("sampler-bound")
    assert expected in sentence


@pytest.mark.parametrize(
    ("trainer", "out", "expected"),
    [((8.0, 2.0), 40, "queue-bound"), ((10.0, 0.0), 40, "trainer-bound"),
     ((8.0, 2.0), 4, "trainer-bound")],
)  # fmt: skip
def test_a_queue_that_is_too_short_for_both_sides_is_named(said_of, trainer, out, expected):
    later = (worker("s", 5.0, 5.0), worker("t", *trainer))
    sentence = said_of(workers=later, trees={"queued": 20}, problems={"leased": out})
    assert sentence.startswith(expected)


@pytest.mark.parametrize("sampler", [(10.0, 0.0), (5.0, 5.0), (0.0, 10.0)])
@pytest.mark.parametrize("trainer", [(10.0, 0.0), (5.0, 5.0), (0.0, 10.0)])
@pytest.mark.parametrize("queued", [58, 64])
@pytest.mark.parametrize("recent", [True, False])
def test_with_a_full_queue_another_sampler_is_never_advised(
    watched, sampler, trainer, queued, recent
):
    if recent:
        watched.said()
    later = (worker("s", *sampler, engine=engine(1.0)), worker("t", *trainer))
    sentence = watched.said(after=10.0, workers=later, trees={"queued": queued})
    held_up = recent and trainer[1] > 3.0
    assert sentence.startswith("upload-bound" if held_up else "trainer-bound")
    assert "sampler-bound" not in sentence
    assert "add a sampler" not in sentence
    assert ("add a trainer" in sentence) != held_up


def test_the_utilisation_of_samplers_is_that_of_their_places(said_of):
    later = (
        worker("s1", 10.0, engine=engine(0.5, 300)), worker("t", 2.0, 8.0),
        worker("s2", 10.0, engine=engine(0.1, 100)), worker("s3", engine=engine(0.9), alive=False),
    )  # fmt: skip
    assert "engines are 40% full" in said_of(workers=later, trees={"queued": 0})
    later = (worker("s1", 10.0), worker("t", 2.0, 8.0))
    assert "engines" not in said_of(workers=later, trees={"queued": 0})


def test_waiting_gradients_make_the_learner_the_bottleneck(watched):
    sentence = watched.said(gradients={"pending": 5})
    assert sentence.startswith("learner-bound: 5 gradients wait for a step of 1")
    assert "learner.gradients_per_step" in sentence


def test_before_the_first_step_the_missing_worker_is_named(watched):
    assert watched.said(step=0, workers=()) == "starting: waiting for a sampler and a trainer"
    assert watched.said(step=0, workers=(worker("s"),)) == "starting: waiting for a trainer"
    assert watched.said(step=0) == "starting: the first optimizer step is being taken"
    nothing_yet = watched.said(step=0, trees={"trained": 0})
    assert nothing_yet == "starting: the first rollouts are being sampled and trained on"


def test_a_run_that_ends_is_neither_starting_nor_short_of_workers(watched):
    for step in (0, 7):
        for name in ("draining", "evaluating", "finished"):
            sentence = watched.said(step=step, state=name, workers=())
            assert sentence == f"the run is {name}: no new problems are handed out"


def test_a_role_that_nobody_has_any_more_is_named(watched):
    sentence = watched.said(workers=(worker("s"), worker("t", alive=False)))
    assert sentence.startswith("no trainer is connected: start one")


def test_batches_without_a_gradient_are_said_to_carry_no_signal(watched):
    for step in (0, 7):
        sentence = watched.said(step=step, batches={"leased": 0, "empty": 3})
        assert sentence.startswith("no signal: the last 3 batches gave no")
    assert "no signal" not in watched.said()


@pytest.fixture
def silence(watched):
    def said(skipped, queued, leased=0, pending=0, step=7):
        return watched.said(
            step=step,
            trees={"queued": queued, "skipped": skipped, "skipped_since_step": skipped},
            batches={"leased": leased, "empty": 0},
            gradients={"pending": pending},
        ).partition(":")[::2]

    return said


def test_skipped_trees_without_a_batch_are_said_to_carry_no_signal(silence):
    for step in (0, 7):
        said, why = silence(96, 0, step=step)
        assert said == "no signal"
        assert why.startswith(
            " all 96 trees since the last step were skipped, because all rollouts"
        )
    said, why = silence(96, 31)
    assert said == "little signal"
    assert why.startswith(" 96 trees were skipped since the last step, 31 of 32 for the next")


@pytest.mark.parametrize(
    "under_way", [(95, 0), (960, 32), (960, 0, 1), (960, 0, 0, 1)],
    ids=["few", "a batch waits", "a batch is trained", "a step is due"],
)  # fmt: skip
def test_skipped_trees_beside_a_batch_are_no_silence(silence, under_way):
    assert "signal" not in silence(*under_way)[0]


def half_full(trainer, sampler=(0.0, 0.0)):
    return {"workers": (worker("s", *sampler), worker("t", *trainer)), "trees": {"queued": 32}}


def test_what_was_30_seconds_ago_counts_no_more(watched):
    """A trainer waits 100 s for the first trees, then works without a pause."""
    said = [watched.said(**half_full((0.0, 100.0)))]
    said += [watched.said(after=1.0, **half_full((second, 100.0))) for second in range(1, 41)]
    assert said[0].startswith("sampler-bound: trainers wait 100%")
    assert said[9].startswith("sampler-bound: trainers wait 92%"), "the window is too short"
    assert all(sentence.startswith("balanced") for sentence in said[10:])
    # It waits again: after 9 of the last 30 seconds this is not much, a second later it is.
    said = [watched.said(after=1.0, **half_full((40.0, 100.0 + n))) for n in range(1, 31)]
    assert [sentence.partition(":")[0] for sentence in said[8:10]] == ["balanced", "sampler-bound"]
    assert said[14].startswith("sampler-bound: trainers wait 50%")
    assert said[29].startswith("sampler-bound: trainers wait 100%")


def test_whoever_asks_once_in_a_while_hears_of_the_time_since_the_start(watched):
    assert watched.said(**half_full((2.0, 8.0))).startswith("sampler-bound: trainers wait 80%")
    later = watched.said(after=3600.0, **half_full((3000.0, 600.0)))
    assert later.startswith("balanced")
    assert watched.said(after=60.0, **half_full((0.0, 0.0))).startswith("balanced"), "unknown"


def test_a_worker_that_started_again_or_came_lately_counts_from_its_start(watched):
    watched.said(**half_full((500.0, 500.0)))
    again = half_full((10.0, 0.0))
    assert watched.said(after=10.0, **again).startswith("balanced")
    new = (*again["workers"], worker("t2", 0.0, 20.0))
    assert watched.said(after=10.0, **{**again, "workers": new}).startswith("sampler-bound: ")


def test_work_that_is_longer_than_the_window_is_not_taken_for_waiting(watched):
    watched.said(**half_full((600.0, 20.0)))
    waited = watched.said(after=20.0, **half_full((600.0, 25.0)))
    assert waited.startswith("balanced"), "15 s of the batch in work are not reported yet"


def test_the_window_is_bounded_however_often_the_state_is_asked_for(watched):
    for _ in range(1001):
        watched.said(after=0.125)
    points = watched.stats._window._points
    assert len(points) == 31
    assert points[-1].time - points[0].time == 30.0


def test_every_way_to_ask_for_the_state_adds_to_the_window(server, monkeypatch):
    run, now = server(), iter(range(0, 1000, 2))
    monkeypatch.setattr(waiting_window.time, "monotonic", lambda: float(next(now)))
    points = run.services.current._window._points
    for path in ("/stats", "/metrics", "/stats"):
        before = len(points)
        assert run.http.simulate_get(path).status_code == 200
        assert len(points) == before + 1
