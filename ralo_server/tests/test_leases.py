"""Leases end, and whoever comes late with an old one is refused or deduplicated, never counted."""

import threading
import time

import falcon.testing
import pytest
from patience import PATIENCE

from ralo_core import wire
from ralo_core.files.atomic import write_blob

SETTINGS = ("trainer.batch_trees=2", "evaluation.problems=2")


@pytest.fixture
def run(server):
    started = server(*SETTINGS)
    started.learner()
    return started


def post(run, path, worker="w1", **body):
    return run.http.simulate_post(path, json=body, headers={"X-Ralo-Worker": worker})


def problem_lease(run):
    return run.lease(worker="w1")[0]["lease_id"]


def batch_lease(run):
    run.fill(2)
    return run.batch().id


def evaluation_lease(run):
    return run.claim()["lease_id"]


KINDS = pytest.mark.parametrize("grant", [problem_lease, batch_lease, evaluation_lease])


def leased(run):
    """Return how much is out on lease, by kind."""
    count = "SELECT COUNT(*) FROM {} WHERE state = 'leased'"
    tables = ("problems", "batches", "evaluation_shards")
    return sum(run.store.database.value(count.format(table)) for table in tables)


def expires_of(run, lease):
    return run.store.database.value(
        """SELECT expires FROM (SELECT lease_id AS id, expires FROM problems
           UNION SELECT id, expires FROM batches
           UNION SELECT lease_id, expires FROM evaluation_shards)
           WHERE id = ?""",
        lease,
    )


def expire(run):
    with run.store.database.write() as connection:
        for table in ("problems", "batches", "evaluation_shards"):
            connection.execute(f"UPDATE {table} SET expires = 1.0 WHERE expires IS NOT NULL")
    run.store.expiry.expire()


@KINDS
def test_a_lease_is_renewed_by_its_owner_and_by_nobody_else(run, grant):
    lease = grant(run)
    before = expires_of(run, lease)
    foreign = post(run, "/lease/renew", worker="w2", lease_ids=[lease])
    assert foreign.status_code == 403
    assert foreign.json["type"] == "urn:ralo:forbidden"
    assert expires_of(run, lease) == before
    time.sleep(0.01)
    mine = post(run, "/lease/renew", lease_ids=[lease, "never-granted"])
    assert mine.json == {"renewed": [lease], "lost": ["never-granted"]}
    assert expires_of(run, lease) > before


@KINDS
@pytest.mark.parametrize("outcome", ["returned", "failed", "empty"])
def test_a_lease_is_released_by_its_owner_and_by_nobody_else(run, grant, outcome):
    lease = grant(run)
    foreign = post(run, "/lease/release", worker="w2", lease_ids=[lease], outcome=outcome)
    assert foreign.status_code == 403
    assert leased(run) == 1
    # ``empty`` is said of batches: it ends nothing else.
    ended = int(outcome != "empty" or grant is batch_lease)
    mine = post(run, "/lease/release", lease_ids=[lease], outcome=outcome)
    assert mine.json == {"released": ended}
    assert leased(run) == 1 - ended


@KINDS
def test_a_lease_that_expired_can_be_neither_renewed_nor_released(run, grant):
    old = grant(run)
    expire(run)
    assert leased(run) == 0
    new = grant(run)
    assert new != old
    assert post(run, "/lease/renew", lease_ids=[old]).json == {"renewed": [], "lost": [old]}
    for outcome in ("returned", "failed", "empty"):
        answer = post(run, "/lease/release", lease_ids=[old], outcome=outcome)
        assert answer.json == {"released": 0}
    assert leased(run) == 1, "what was granted anew is untouched"


def test_the_report_under_the_lease_that_holds_is_the_result(run):
    old = run.claim("w1")
    expire(run)
    assert run.report(old, (True, False)).status_code == 409, "nobody has it now"
    new = run.claim("w2")
    assert (new["job_id"], new["version"]) == (old["job_id"], old["version"])
    assert run.report(old, (True, False)).status_code == 409, "somebody else has it"
    assert run.report(new, (True, True), "w2").json == {"accepted": True, "duplicate": False}
    for late in (new, old):
        assert run.report(late, (True, False)).json == {"accepted": True, "duplicate": True}
    (result,) = run.http.simulate_get("/eval/results").json["evaluations"]
    assert result["metrics"]["accuracy"]["value"] == 1.0


def test_work_is_handed_in_by_its_owner_and_by_nobody_else(run, random_gradient):
    run.fill(2)
    batch, (problem,), job = run.batch(), run.lease(), run.claim()
    body = wire.pack({"codec": "none"}, random_gradient(0))
    tree = wire.pack_tree(run.make_tree(problem["problem"]["id"], problem["lease_id"]))
    chunk = {"params": {"upload_id": "u", "index": 0}, "body": body}
    finish = {"json": {"upload_id": "u"}}
    calls = [
        ("/upload", {"body": tree, "headers": {"Idempotency-Key": problem["lease_id"]}}),
        ("/gradient/declare", {"json": run.declaration(batch.id, body, "u", len(body))}),
        ("/gradient/upload_chunk", chunk),
        ("/gradient/upload_finalize", finish),
        ("/eval/job/report", {"json": run.shard_report(job, (True, False))}),
    ]
    for path, arguments in calls:
        before = changes(run)
        headers = {**arguments.pop("headers", {}), "X-Ralo-Worker": "w2"}
        foreign = run.http.simulate_post(path, headers=headers, **arguments)
        assert (foreign.status_code, foreign.json["title"]) == (403, "not your lease"), path
        assert changes(run) == before
        mine = run.http.simulate_post(path, headers={**headers, "X-Ralo-Worker": "w1"}, **arguments)
        assert mine.status_code == 200, mine.text
    assert [gradient.info.upload_id for gradient in run.store.gradients.pending()] == ["u"]


def test_who_does_not_say_its_name_hands_nothing_in(run, random_gradient):
    run.fill(2)
    body = wire.pack({"codec": "none"}, random_gradient(0))
    declaration = run.declaration(run.batch().id, body, "u", len(body))
    nameless = falcon.testing.TestClient(run.http.app)
    assert nameless.simulate_post("/gradient/declare", json=declaration).status_code == 400


def changes(run):
    """Return how many rows were changed through any connection of this process so far."""
    return run.store.database._connection().total_changes


def test_a_report_on_a_job_that_never_was_is_refused(run):
    job = {"job_id": "eval-7-held_out-0", "lease_id": "x"}
    assert run.report(job, (True, False)).status_code == 409


def test_a_late_gradient_and_a_late_tree_are_refused(run, random_gradient):
    run.fill(2)
    batch = run.batch()
    (problem,) = run.lease()
    expire(run)
    assert run.send_gradient(batch.id, random_gradient(0), "late").status_code == 409
    assert run.upload(problem).status_code == 409
    assert run.store.gradients.pending() == []
    stats = run.http.simulate_get("/stats").json
    assert (stats["trees"]["queued"], stats["trees"]["trained"]) == (2, 0)


def test_a_tree_whose_lease_ends_while_it_is_written_is_refused(run, monkeypatch):
    (problem,) = run.lease()

    def slow_disk(path, body):
        write_blob(path, body)
        expire(run)

    monkeypatch.setattr("ralo_server.store.trees.write_blob", slow_disk)
    assert run.upload(problem).status_code == 409
    monkeypatch.undo()
    assert list(run.directory.samples.iterdir()) == []
    (again,) = run.lease()
    assert again["problem"] == problem["problem"]
    assert run.upload(again).json == {"accepted": True, "duplicate": False}
    assert run.store.trees.queued() == 1


@pytest.mark.parametrize("path", ["/problem/get?count=2", "/get"])
def test_a_request_whose_answer_was_lost_gets_the_same_leases_again(run, path):
    """Else the heartbeat would renew what the worker does not know of, as long as it lives."""
    run.fill(4)
    headers = {"X-Ralo-Worker": "w1", "Idempotency-Key": "k1"}
    first = run.http.simulate_get(path, headers=headers)
    out = leased(run)
    again = run.http.simulate_get(path, headers=headers)
    assert again.content == first.content
    assert leased(run) == out
    other = run.http.simulate_get(path, headers={**headers, "Idempotency-Key": "k2"})
    assert other.content != first.content
    stranger = run.http.simulate_get(path, headers={**headers, "X-Ralo-Worker": "w2"})
    assert stranger.content != first.content, "a key is the worker's own"


def test_a_claim_whose_answer_was_lost_gets_the_same_job_again(run):
    first = run.claim(key="k1")
    assert run.claim(key="k1") == first
    assert run.claim(key="k2") is None


def test_a_request_whose_leases_ended_gets_new_ones(run):
    headers = {"X-Ralo-Worker": "w1", "Idempotency-Key": "k1"}
    first = run.http.simulate_get("/problem/get", headers=headers).json["problems"]
    expire(run)
    again = run.http.simulate_get("/problem/get", headers=headers).json["problems"]
    assert again[0]["problem"] == first[0]["problem"]
    assert again[0]["lease_id"] != first[0]["lease_id"]


def test_who_waits_is_given_what_expires_meanwhile(server):
    run = server("trainer.batch_trees=1", "server.queued_trees=1", "server.lease_seconds=3")
    (first,) = run.lease()  # the queue has no room for another problem

    def wait():
        params, headers = {"wait": 25}, {"X-Ralo-Worker": "w2"}
        replies.append(run.http.simulate_get("/problem/get", params=params, headers=headers))

    replies = []
    waiting = threading.Thread(target=wait)
    waiting.start()  # no other request comes, and no learner is there to end the lease
    waiting.join(PATIENCE)
    assert replies[0].status_code == 200
    assert replies[0].json["problems"][0]["problem"] == first["problem"]
