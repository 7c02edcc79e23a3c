"""Every call that changes something may be sent twice: the state is that after once."""

import pytest

from ralo_core import wire
from ralo_server.web.app import routes

SETTINGS = ("trainer.batch_trees=1", "evaluation.problems=2", "server.queued_trees=8")
PASSING = {"expires", "seen"}
"""Columns that hold the time of the last call."""


def register(run, data):
    plugins = [
        {"name": info.name, "distribution": info.distribution, "version": info.version}
        for info in run.services.host.active()
    ]
    return {"json": {"worker_id": "w1", "role": "sampler", "plugins": plugins}}


def heartbeat(run, data):
    run.http.simulate_post("/worker/register", **register(run, data))
    beat = {"worker_id": "w1", "version": 0, "working_seconds": 1.0, "waiting_seconds": 0.0}
    return {"json": {**beat, "tokens": 3}}


def leave(run, data):
    run.fill(1)
    run.batch()
    return {}


def upload(run, data):
    (leased,) = run.lease()
    tree = run.make_tree(leased["problem"]["id"], leased["lease_id"])
    return {"body": wire.pack_tree(tree), "headers": {"Idempotency-Key": leased["lease_id"]}}


def get(run, data):
    run.fill(2)
    return {"headers": {"Idempotency-Key": "k"}}


def renew(run, data):
    return {"json": {"lease_ids": [run.lease()[0]["lease_id"]]}}


def release(outcome):
    def prepare(run, data):
        run.fill(1)
        leases = [run.batch().id, run.lease()[0]["lease_id"]]
        return {"json": {"lease_ids": leases, "outcome": outcome, "reason": "test"}}

    return prepare


def declare(run, data):
    run.fill(1)
    return {"json": run.declaration(run.batch().id, body_of(data), "u", 100)}


def chunk(run, data):
    run.fill(1)
    run.declare(run.batch().id, body_of(data), "u")
    return {"params": {"upload_id": "u", "index": 0}, "body": body_of(data)}


def finalize(run, data):
    run.http.simulate_post("/gradient/upload_chunk", **chunk(run, data))
    return {"json": {"upload_id": "u"}}


def body_of(data):
    return wire.pack({"codec": "none"}, data(0))


def claim(run, data):
    return {"json": {"worker_id": "w1"}, "headers": {"Idempotency-Key": "k"}}


def report(run, data):
    return {"json": run.shard_report(run.claim(), (True, False))}


def ask(run, data):
    run.evaluate()
    with run.store.database.write() as connection:  # as before it was ever asked
        connection.execute("DELETE FROM evaluation_shards")
        connection.execute("DELETE FROM evaluations")
    return {"json": {"benchmarks": ["held_out"], "version": None}}


def compute(run, data):
    spent = {"working_seconds": 1.0, "waiting_seconds": 2.0, "tokens": 3}
    body = {"worker_id": "w1", "session": "s", "age_seconds": 3.0, "devices": 1}
    return {"json": {**body, "roles": {"sampler": spent}}}


def nothing(run, data):
    return {}


CALLS = [
    ("POST", "/worker/register", register),
    ("POST", "/trainer/register", register),
    ("POST", "/worker/heartbeat", heartbeat),
    ("POST", "/trainer/heartbeat", heartbeat),
    ("POST", "/worker/leave", leave),
    ("GET", "/problem/get", claim),
    ("POST", "/upload", upload),
    ("GET", "/get", get),
    ("POST", "/lease/renew", renew),
    *(("POST", "/lease/release", release(end)) for end in ("returned", "failed", "empty")),
    ("POST", "/gradient/declare", declare),
    ("POST", "/gradient/upload_chunk", chunk),
    ("POST", "/gradient/upload_finalize", finalize),
    ("POST", "/eval/job/claim", claim),
    ("POST", "/eval/job/report", report),
    ("POST", "/eval/request", ask),
    ("POST", "/compute/report", compute),
    ("POST", "/stop", nothing),
]
READING = {
    "/health", "/config", "/stats", "/eval/results", "/eval/rows",
    "/weights/version", "/weights/manifest", "/weights/download", "/weights/parts/{sha256}",
    "/weights/delta", "/", "/static/{path:path}", "/run/config", "/runs", "/runs/series",
    "/series", "/series/names", "/events", "/rollouts", "/rollouts/{number:int}",
    "/compute/stats", "/eval/fit", "/metrics",
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "prepare"), CALLS)
def test_a_second_time_changes_nothing(server, random_gradient, method, path, prepare):
    run = server(*SETTINGS)
    run.learner()
    arguments = prepare(run, random_gradient)
    first = run.http.simulate_request(method, path, **arguments)
    assert first.status_code == 200, first.text
    once = state(run)
    second = run.http.simulate_request(method, path, **arguments)
    assert second.status_code == 200, second.text
    assert state(run) == once


def test_no_call_that_changes_something_is_left_out(server):
    paths = set(routes(server(*SETTINGS).services))
    assert paths == READING | {path for _, path, _ in CALLS}


def state(run):
    """Return every row of every table, and every blob with its content."""
    database = run.store.database
    tables = [row[0] for row in database.rows("SELECT name FROM sqlite_master WHERE type='table'")]
    rows = {
        table: [
            {key: row[key] for key in row.keys() if key not in PASSING}  # noqa: SIM118
            for row in database.rows(f"SELECT * FROM {table}")
        ]
        for table in tables
    }
    blobs = {
        str(path): path.read_bytes()
        for folder in (run.directory.samples, run.directory.gradients, run.directory.evaluations)
        for path in folder.rglob("*.*")
    }
    return rows, blobs
