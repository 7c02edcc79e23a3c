"""Compute telemetry in the store and over HTTP: what is counted, once, and what survives."""

import attrs
import hypothesis.strategies as st
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from patience import PATIENCE
from web_process import WebProcess

from ralo_server.learner.compute import LearnerCompute
from ralo_server.store import Store
from ralo_server.store.compute import EVALUATOR, LEARNER, SAMPLER, TRAINER, Session, Spent

REPORTS = st.lists(
    st.tuples(st.sampled_from(["s1", "s2", "s3"]), st.integers(1, 20)), min_size=1, max_size=20
)


def session(name, age, devices=1):
    return Session(id=name, worker_id=f"w-{name}", age_seconds=age, devices=devices)


def spent(working, waiting=0.0, tokens=0):
    return Spent(working_seconds=working, waiting_seconds=waiting, tokens=tokens)


def body(session="s", age=3.0, roles=("sampler",), **changes):
    values = {"working_seconds": 1.0, "waiting_seconds": 2.0, "tokens": 3}
    return {"worker_id": "w1", "session": session, "age_seconds": age, "devices": 1,
            "roles": dict.fromkeys(roles, values), **changes}  # fmt: skip


@pytest.fixture
def store(make_run):
    directory = make_run()
    return Store(directory, directory.load_config(())[0])


@given(reports=REPORTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_reports_in_any_order_and_number_come_to_the_newest_of_each_session(store, reports):
    with store.database.write() as connection:
        connection.execute("DELETE FROM compute")
    for name, age in reports:
        store.compute.report(session(name, age), {SAMPLER: spent(age / 2, age / 2, 10 * age)})
    newest = {name: max(age for other, age in reports if other == name) for name, _ in reports}
    found = store.compute.spent()[SAMPLER]
    assert found.working_seconds == found.waiting_seconds == sum(newest.values()) / 2
    assert found.tokens == 10 * sum(newest.values())


def test_a_worker_that_is_started_again_goes_on_counting(store):
    store.compute.report(session("first", 10.0), {TRAINER: spent(6.0, 4.0, 100)})
    store.compute.report(session("second", 1.0), {TRAINER: spent(0.5, 0.5, 5)})
    found = Store(store.directory, store.config).compute.spent()[TRAINER]
    assert found == spent(6.5, 4.5, 105), "also for whoever opens the run anew"


def test_what_a_step_says_leaves_evaluations_apart(store):
    store.compute.report(
        session("s", 9.0), {SAMPLER: spent(3.0, 2.0, 30), EVALUATOR: spent(4.0, 0.0, 40)}
    )
    store.compute.report(session("t", 9.0, 2), {TRAINER: spent(10.0, 8.0, 20)})
    store.compute.report(session("l", 9.0), {LEARNER: spent(1.0, 8.0)})
    assert store.compute.step_metrics() == {
        "compute/working_seconds": 14.0, "compute/waiting_seconds": 18.0, "compute/tokens": 50,
        "compute/sampler_seconds": 3.0, "compute/evaluator_seconds": 4.0,
        "compute/trainer_seconds": 10.0, "compute/learner_seconds": 1.0,
    }  # fmt: skip
    found = store.compute.statistics()
    assert found["roles"]["trainer"] == {**attrs.asdict(spent(10.0, 8.0, 20)), "devices": 2,
                                         "workers": 1}  # fmt: skip
    assert found["total"] == {**attrs.asdict(spent(18.0, 18.0, 90)), "devices": 4, "workers": 3}


def test_workers_that_left_are_no_longer_here_and_what_they_spent_is(server):
    run = server()
    for worker in ("w1", "w2"):
        run.store.workers.register(worker, "sampler", {})
        run.http.simulate_post("/compute/report", json=body(worker, worker_id=worker))
    run.http.simulate_post("/worker/leave")
    found = run.http.simulate_get("/compute/stats").json["roles"]["sampler"]
    assert (found["workers"], found["working_seconds"], found["tokens"]) == (1, 2.0, 6)


def test_a_report_that_cannot_be_is_refused(server):
    http = server().http
    for wrong in (
        body(roles=("learner",)),
        body(age=-1.0),
        body(devices=0),
        body(session="../x"),
        body(roles=(), extra=1),
    ):
        assert http.simulate_post("/compute/report", json=wrong).status_code == 422
    text = '{"worker_id": "w1", "session": "s", "age_seconds": 1e999, "devices": 1, "roles": {}}'
    assert http.simulate_post("/compute/report", body=text).status_code == 422
    assert http.simulate_get("/compute/stats").json["total"]["workers"] == 0


def test_the_learner_counts_its_steps_as_work_also_the_one_under_way(store):
    now = [100.0]
    meter = LearnerCompute(store.compute, lambda: now[0])
    now[0] += 4.0
    with meter.working():
        now[0] += 3.0
        assert meter.step_metrics()["compute/learner_seconds"] == 3.0
        now[0] += 1.0
    now[0] += 2.0
    meter.keep()
    assert store.compute.spent()[LEARNER] == spent(4.0, 6.0)
    now[0] += 1.0
    meter.keep()
    assert store.compute.spent()[LEARNER] == spent(4.0, 6.0), "not at every turn of the loop"


def test_versions_are_thinned_and_the_last_is_among_them(store):
    with store.database.write() as connection:
        connection.executemany(
            "INSERT INTO steps (step, metrics) VALUES (?, ?)",
            [(n, f'{{"version": {n}, "compute/working_seconds": {n}.5, "compute/tokens": {n}}}')
             for n in range(1, 1002)],
        )  # fmt: skip
        connection.execute("""UPDATE steps SET metrics = '{"version": 6}' WHERE step = 6""")
    found = store.compute.statistics()["versions"]
    assert 150 <= len(found) <= 201
    assert found[-1] == {"version": 1001, "step": 1001, "working_seconds": 1001.5, "tokens": 1001}
    assert 6 not in [row["version"] for row in found], "it was made before anything was counted"


def test_a_step_commits_what_had_been_spent(leased, random_gradient):
    run, batch, _ = leased("learner.gradients_per_step=1")
    run.http.simulate_post("/compute/report", json=body())
    assert run.send_gradient(batch.id, random_gradient(0), "u").status_code == 200
    learner = run.the_learner
    with learner.compute.working():
        learner.step(learner.due())
    (step,) = run.http.simulate_get("/stats").json["steps"]
    assert step["compute/sampler_seconds"] == 1.0
    assert step["compute/tokens"] == 3
    assert step["compute/working_seconds"] > 1.0, "the step itself"
    (version,) = run.http.simulate_get("/compute/stats").json["versions"]
    assert version["working_seconds"] == step["compute/working_seconds"]


@pytest.mark.slow
def test_acknowledged_reports_survive_a_kill_of_the_web_process(make_run):
    directory = make_run("server.port=0")
    web = WebProcess(directory)
    try:
        answer = requests.post(f"{web.url}/compute/report", json=body(), timeout=PATIENCE)
        assert answer.status_code == 200
        web.kill_9()
        web.start()
        requests.post(f"{web.url}/compute/report", json=body(), timeout=PATIENCE)
        found = requests.get(f"{web.url}/compute/stats", timeout=PATIENCE).json()
        assert found["roles"]["sampler"]["tokens"] == 3
    finally:
        web.close()
