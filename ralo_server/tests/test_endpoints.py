"""What the protocol promises, request by request, on a real store."""

import time

import numpy as np
import pytest

from ralo_core import wire
from ralo_server.store.workers import FORGET_SECONDS

BATCH = "trainer.batch_trees=2"


def expire(run):
    """Let every lease end now."""
    with run.store.database.write() as connection:
        for table in ("problems", "batches", "evaluation_shards"):
            connection.execute(f"UPDATE {table} SET expires = 1.0 WHERE expires IS NOT NULL")
    run.store.expiry.expire()


def test_problems_are_handed_out_once_and_only_while_there_is_room(server):
    run = server(BATCH, "server.queued_trees=3")
    run.learner()
    first, second = run.lease(2), run.lease(5)
    assert len(first) == 2
    assert len(second) == 1
    assert len({item["problem"]["id"] for item in first + second}) == 3
    assert run.http.simulate_get("/problem/get").status_code == 204
    run.upload(first[0])
    assert run.lease(1) == []
    run.upload(first[1])
    assert run.batch() is not None
    assert len(run.lease(5)) == 2


def test_a_tree_counts_once_however_often_it_is_sent(server):
    run = server(BATCH)
    run.learner()
    (leased,) = run.lease()
    assert run.upload(leased).json == {"accepted": True, "duplicate": False}
    assert run.upload(leased).json == {"accepted": True, "duplicate": True}
    assert run.store.trees.queued() == 1
    assert run.http.simulate_get("/stats").json["rollouts"]["sampled"] == 2


def test_an_expired_problem_goes_to_somebody_else_and_the_late_tree_is_refused(server):
    run = server(BATCH)
    run.learner()
    (old,) = run.lease()
    expire(run)
    (new,) = run.lease(worker="w2")
    assert new["problem"] == old["problem"]
    late = run.upload(old)
    assert late.status_code == 409
    assert late.json["type"] == "urn:ralo:conflict"
    assert run.upload(new, worker="w2").json["duplicate"] is False
    assert run.store.trees.queued() == 1


def test_a_problem_whose_lease_is_lost_too_often_is_given_up(server):
    run = server(BATCH, "problems.arithmetic.count=1")
    for _ in range(5):
        assert len(run.lease()) == 1
        expire(run)
    assert run.lease() == []
    assert run.http.simulate_get("/stats").json["problems"]["failed"] == 1


def test_a_returned_problem_waits_again_and_a_failed_one_does_not(server):
    run = server(BATCH, "problems.arithmetic.count=2")
    back, broken = run.lease(2)
    for item, outcome in ((back, "returned"), (broken, "failed")):
        body = {"lease_ids": [item["lease_id"]], "outcome": outcome, "reason": "test"}
        assert run.http.simulate_post("/lease/release", json=body).json == {"released": 1}
    (again,) = run.lease(5)
    assert again["problem"] == back["problem"]
    assert run.http.simulate_get("/stats").json["problems"]["failed"] == 1


def test_the_heartbeat_renews_the_leases_that_its_worker_holds(server):
    run = server(BATCH)
    register = {"worker_id": "w1", "role": "sampler", "plugins": installed(run)}
    assert run.http.simulate_post("/worker/register", json=register).status_code == 200
    (mine,), (unheard,), (other,) = (run.lease(worker=worker) for worker in ("w1", "w1", "w2"))
    soon = time.time() + 1.0
    with run.store.database.write() as connection:
        connection.execute("UPDATE problems SET expires = ?", (soon,))
    beat = {"worker_id": "w1", "version": 0, "working_seconds": 1.0, "waiting_seconds": 0.0,
            "tokens": 3, "lease_ids": [mine["lease_id"], other["lease_id"], "gone"]}  # fmt: skip
    answer = run.http.simulate_post("/worker/heartbeat", json=beat).json
    assert answer.pop("time") == pytest.approx(time.time(), abs=60)
    assert answer == {"state": "running", "over": [other["lease_id"], "gone"]}
    expires = dict(run.store.database.rows("SELECT lease_id, expires FROM problems"))
    assert expires[mine["lease_id"]] > soon
    assert expires[other["lease_id"]] == soon
    assert expires[unheard["lease_id"]] == soon, "its answer was lost: nobody works on it"
    unknown = run.http.simulate_post("/worker/heartbeat", json={**beat, "worker_id": "x"})
    assert unknown.status_code == 404


def test_what_a_worker_reports_is_shown_and_may_be_left_out(server):
    run = server(BATCH)
    register = {"worker_id": "w1", "role": "sampler", "plugins": installed(run)}
    assert run.http.simulate_post("/worker/register", json=register).status_code == 200
    beat = {"worker_id": "w1", "version": 0, "working_seconds": 1.0, "waiting_seconds": 0.0,
            "tokens": 3}  # fmt: skip
    engine = {"capacity": 8, "running": 5, "waiting": 1, "tokens_per_second": 9.5,
              "utilisation": 0.6, "cache_hits": 0.5, "decoded_tokens": 3, "prompt_tokens": 2,
              "cached_tokens": 1}  # fmt: skip
    weights = {"bytes": 7, "staging_seconds": 0.5, "activations": 1, "pause_seconds": 0.1,
               "last_pause_seconds": 0.1}  # fmt: skip
    delay = {"version": 1, "notice": 0.1, "staging": 0.5, "activation": 0.2, "first_token": 0.3}
    for last in (None, delay):
        body = {**beat, "engine": engine, "weights": {**weights, "last": last}}
        assert run.http.simulate_post("/worker/heartbeat", json=body).status_code == 200
        (shown,) = run.http.simulate_get("/stats").json["workers"]
        assert shown["engine"] == engine
        assert shown["weights"] == {**weights, "last": last}
    assert run.http.simulate_post("/worker/heartbeat", json=beat).status_code == 200
    (shown,) = run.http.simulate_get("/stats").json["workers"]
    assert shown["engine"] is None
    wrong = run.http.simulate_post("/worker/heartbeat", json={**beat, "engine": {"capacity": "8"}})
    assert wrong.status_code == 422
    assert "Heartbeat.engine" in wrong.json["detail"]


def installed(run):
    return [
        {"name": info.name, "distribution": info.distribution, "version": info.version}
        for info in run.services.host.active()
    ]


def test_a_worker_with_another_version_of_a_plugin_is_told_the_pip_command(server):
    run = server(BATCH, "sampling.use='treepo'")
    plugins = installed(run)
    for plugin in plugins:
        if plugin["distribution"] == "ralo-treepo":
            plugin["version"] = "9.9"
    body = {"worker_id": "w1", "role": "sampler", "plugins": plugins}
    answer = run.http.simulate_post("/worker/register", json=body)
    assert answer.status_code == 409
    assert "this worker has 9.9" in answer.json["detail"]
    assert "pip install 'ralo-treepo==" in answer.json["detail"]
    without = [plugin for plugin in plugins if plugin["distribution"] != "ralo-treepo"]
    body["plugins"] = without
    assert "does not have it" in run.http.simulate_post("/worker/register", json=body).text
    body["role"] = "trainer"  # a trainer needs no sampling algorithm
    assert run.http.simulate_post("/worker/register", json=body).status_code == 200


def test_a_batch_is_full_unless_the_run_drains(server):
    run = server("trainer.batch_trees=3", "problems.arithmetic.count=2")
    run.learner()
    run.fill(2)
    assert run.batch() is None
    assert run.lease() == []
    assert run.store.run.advance() == "draining"
    assert len(run.batch().trees) == 2


def test_an_expired_batch_is_given_out_again_and_its_late_gradient_refused(server, random_gradient):
    run = server(BATCH)
    run.learner()
    run.fill(2)
    old = run.batch()
    expire(run)
    new = run.batch()
    assert [tree.problem_id for tree in old.trees] == [tree.problem_id for tree in new.trees]
    assert run.send_gradient(old.id, random_gradient(0), "late").status_code == 409
    assert run.send_gradient(new.id, random_gradient(0), "good").json["duplicate"] is False
    assert run.send_gradient(new.id, random_gradient(0), "good").json["duplicate"] is True
    assert len(run.store.gradients.pending()) == 1


def test_a_tree_that_is_none_is_refused_with_the_reason(server):
    run = server(BATCH)
    (leased,) = run.lease()
    key = leased["lease_id"]
    assert "not a safetensors file" in run.post_tree(b"hello", key).json["detail"]
    tree = run.make_tree("p", "somebody else's")
    assert "Idempotency-Key" in run.post_tree(wire.pack_tree(tree), key).json["detail"]
    header, tensors = wire.tree_to_parts(run.make_tree("p", key))
    tensors["versions"] = tensors["versions"] + 1
    assert "'versions'" in run.post_tree(wire.pack(header, tensors), key).json["detail"]
    tensors["versions"] = tensors["versions"].astype(np.int64)
    assert "int64" in run.post_tree(wire.pack(header, tensors), key).json["detail"]
    assert run.store.trees.queued() == 0


def test_json_faults_are_all_named_at_once(server):
    run = server(BATCH)
    answer = run.http.simulate_post("/lease/release", json={"lease_ids": "x", "outcom": "empty"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "did you mean 'outcome'" in answer.json["detail"]
    assert run.http.simulate_post("/lease/renew", body=b"{").status_code == 400


def test_a_file_of_a_version_has_etag_and_ranges(server):
    run = server(BATCH)
    run.learner()
    version = run.http.simulate_get("/weights/version").json
    (file,) = [f for f in version["files"] if f["name"] == "model.safetensors"]
    params = {"version": 0, "file": "model.safetensors"}
    whole = run.http.simulate_get("/weights/download", params=params)
    assert len(whole.content) == file["size"]
    assert whole.headers["etag"] == f'"{file["sha256"]}"'
    for asked, expected in {
        "bytes=10-19": whole.content[10:20],
        "bytes=100-": whole.content[100:],
        "bytes=-7": whole.content[-7:],
    }.items():
        part = run.http.simulate_get("/weights/download", params=params, headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == expected
    same = run.http.simulate_get(
        "/weights/download", params=params, headers={"If-None-Match": whole.headers["etag"]}
    )
    assert same.status_code == 304
    beyond = {"Range": f"bytes={file['size']}-"}
    assert (
        run.http.simulate_get("/weights/download", params=params, headers=beyond).status_code == 416
    )
    for wrong in ({"version": 0, "file": "../state.db"}, {"version": 4, "file": "x"}):
        assert run.http.simulate_get("/weights/download", params=wrong).status_code == 404


def test_an_evaluation_is_done_once_and_is_of_the_right_length(server):
    run = server(BATCH, "evaluation.problems=3")
    run.learner()
    job = run.claim("w1")
    assert (job["version"], job["benchmark"], len(job["problems"])) == (0, "held_out", 3)
    assert run.claim("w2") is None
    assert run.report(job, (True,)).status_code == 422
    assert run.report(job, ((True, True), (False,), (True,))).status_code == 422
    for duplicate in (False, True):
        answer = run.report(job, (True, False, True))
        assert answer.json == {"accepted": True, "duplicate": duplicate}
    (result,) = run.results()
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert (result["items"], result["samples"], result["tokens"]) == (3, 1, 9)


def test_a_run_that_is_over_answers_410_and_goes_on_with_a_higher_limit(server, random_gradient):
    run = server("trainer.batch_trees=1", "run.max_steps=1", "evaluation.problems=1")
    learner = run.learner()
    run.fill(2)
    run.send_gradient(run.batch().id, random_gradient(0), "g")
    learner.step(learner.due())
    assert run.store.run.advance() == "evaluating"
    assert run.http.simulate_get("/get").status_code == 204
    for _ in range(2):
        run.report(run.claim(), (True,))
    assert run.store.run.advance() == "finished"
    for path in ("/problem/get", "/get"):
        answer = run.http.simulate_get(path)
        assert answer.status_code == 410
        assert answer.json["type"] == "urn:ralo:run-over"
    run.store.run.config.data["run"]["max_steps"] = 2
    run.store.run.reopen()
    assert run.store.run.current() == "running"
    assert len(run.batch().trees) == 1, "the tree that was left is still there"


def test_a_worker_that_leaves_gives_back_what_it_holds_and_is_not_lost(server, monkeypatch):
    run = server(BATCH, "problems.arithmetic.count=3")
    run.learner()
    said = []

    def notify(event, **facts):
        said.append((event, facts["worker_id"])) if "worker_id" in facts else None

    monkeypatch.setattr(run.services.host, "notify", notify)
    for name in ("w1", "w2"):
        body = {"worker_id": name, "role": "sampler", "plugins": installed(run)}
        run.http.simulate_post("/worker/register", json=body)
    assert run.store.workers.anyone()
    run.fill(2)
    batch = run.batch()
    (problem,), other = run.lease(), run.lease(worker="w2")
    assert run.http.simulate_post("/worker/leave").json == {"returned": 2}
    assert run.http.simulate_post("/worker/leave").json == {"returned": 0}
    (again,) = run.lease(5, worker="w2")
    assert again["problem"] == problem["problem"]
    assert not other
    assert run.batch().trees[0].problem_id == batch.trees[0].problem_id
    assert run.upload(problem).status_code == 409, "it is somebody else's now"
    beat = {"worker_id": "w1", "version": 0, "working_seconds": 1.0, "waiting_seconds": 0.0,
            "tokens": 3, "lease_ids": [batch.id]}  # fmt: skip
    assert run.http.simulate_post("/worker/heartbeat", json=beat).json["over"] == [batch.id]
    with run.store.database.write() as connection:
        connection.execute(
            "UPDATE workers SET seen = ?", (time.time() - run.services.server.lease_seconds - 1,)
        )
    assert not run.store.workers.anyone(), "one has left, one is silent"
    run.store.expiry._next = 0.0  # a second later
    shown = run.http.simulate_get("/stats").json["workers"]
    assert {worker["id"]: worker["state"] for worker in shown} == {"w1": "left", "w2": "lost"}
    assert not any(worker["alive"] for worker in shown)
    joined = [("ralo_worker_joined", name) for name in ("w1", "w2")]
    assert said == [*joined, ("ralo_worker_left", "w1"), ("ralo_worker_lost", "w2")]


def test_a_worker_that_left_may_come_back_under_its_name_and_is_forgotten_in_the_end(
    server, monkeypatch
):
    run, said = server(BATCH), []
    monkeypatch.setattr(run.services.host, "notify", lambda event, **facts: said.append(event))
    body = {"worker_id": "w1", "role": "sampler", "plugins": installed(run)}
    for _ in range(2):
        run.http.simulate_post("/worker/register", json=body)
        (shown,) = run.http.simulate_get("/stats").json["workers"]
        assert shown["state"] == "alive"
        run.http.simulate_post("/worker/leave")
    assert said == ["ralo_worker_joined", "ralo_worker_left"] * 2
    with run.store.database.write() as connection:
        connection.execute("UPDATE workers SET seen = 1.0")
    run.store.expiry._next = 0.0  # a second later
    assert run.http.simulate_get("/stats").json["workers"] == []


def test_a_problem_that_is_handed_back_by_leaving_is_never_given_up(server):
    run = server(BATCH, "problems.arithmetic.count=1")
    for _ in range(9):
        assert len(run.lease()) == 1
        run.http.simulate_post("/worker/leave")
    assert len(run.lease()) == 1


def test_a_worker_that_was_lost_long_ago_is_forgotten_and_may_come_back(server):
    run = server(BATCH)
    run.learner()
    run.fill(1)
    for name in ("gone", "there"):
        body = {"worker_id": name, "role": "sampler", "plugins": installed(run)}
        run.http.simulate_post("/worker/register", json=body)
    totals = ("tokens", "rollouts", "problems", "trees")
    before = run.http.simulate_get("/stats").json
    assert before["tokens"]["decoded"] > 0
    since = time.time() - FORGET_SECONDS - run.services.server.lease_seconds
    for silent, known in ((since + 60, ["gone", "there"]), (since - 1, ["there"])):
        with run.store.database.write() as connection:
            connection.execute("UPDATE workers SET seen = ? WHERE id = 'gone'", (silent,))
        run.store.expiry._next = 0.0  # a second later
        stats = run.http.simulate_get("/stats").json
        assert [worker["id"] for worker in stats["workers"]] == known
    assert [stats[name] for name in totals] == [before[name] for name in totals]
    beat = {"worker_id": "gone", "version": 0, "working_seconds": 1.0, "waiting_seconds": 0.5,
            "tokens": 7}  # fmt: skip
    assert run.http.simulate_post("/worker/heartbeat", json=beat).status_code == 404
    body = {"worker_id": "gone", "role": "sampler", "plugins": installed(run)}
    assert run.http.simulate_post("/worker/register", json=body).status_code == 200
    assert run.http.simulate_post("/worker/heartbeat", json=beat).status_code == 200


def test_a_silent_worker_is_reported_lost(server):
    run = server(BATCH)
    body = {"worker_id": "w1", "role": "sampler", "plugins": installed(run)}
    run.http.simulate_post("/worker/register", json=body)
    silent = time.time() - run.services.server.lease_seconds - 1
    with run.store.database.write() as connection:
        connection.execute("UPDATE workers SET seen = ?", (silent,))
    run.store.expiry._next = 0.0  # a second later
    (worker,) = run.http.simulate_get("/stats").json["workers"]
    assert worker["alive"] is False
