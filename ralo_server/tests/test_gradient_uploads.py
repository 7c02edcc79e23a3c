"""The life of a gradient upload, request by request, on a real store."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import attrs
import numpy as np
import pytest

from ralo_core import GradientUpload, wire
from ralo_core.errors import ConfigError
from ralo_core.structuring import structure
from ralo_server.gradient_checks import MAX_CHUNKS, Inspection, agreed_chunk_bytes, check_norm
from ralo_server.part_file import Occupied, PartFile
from ralo_server.store import Store
from ralo_server.store.schema import MIGRATIONS
from ralo_server.store.uploads import Upload

BATCH = "trainer.batch_trees=1"
MIB = 1 << 20


@pytest.fixture
def leased(server, random_gradient):
    """Return a function that gives a run with a learner, a leased batch and a gradient body."""

    def start(*settings):
        run = server(BATCH, *settings)
        run.the_learner = run.learner()
        run.fill(1)
        return run, run.batch(), wire.pack({"codec": "none"}, random_gradient(0))

    return start


def another_batch(run):
    run.fill(1)
    return run.batch()


def expire(run, batch):
    with run.store.database.write() as connection:
        connection.execute("UPDATE batches SET expires = 1.0 WHERE id = ?", (batch.id,))
    run.store.leases.expire()
    run.store.uploads.sweep()


def states(run):
    rows = run.store.database.rows("SELECT upload_id, state FROM gradients ORDER BY number")
    return {row["upload_id"]: row["state"] for row in rows}


def stats(run):
    return run.http.simulate_get("/stats").json["gradients"]


def files(run):
    return sorted(path.name for path in run.directory.gradients.iterdir())


def test_chunks_come_in_any_order_and_twice_and_the_last_one_is_shorter(leased):
    run, batch, body = leased()
    assert len(body) % 100
    answer = run.declare(batch.id, body, "u", 100)
    indices = list(range(-(-len(body) // 100)))
    assert answer.json == {"declared": True, "chunk_bytes": 100, "missing": indices}
    for index in [*reversed(indices), *indices]:
        left = run.declare(batch.id, body, "u", 100).json["missing"]
        chunk = body[index * 100 : (index + 1) * 100]
        assert run.send_chunk("u", index, chunk).json == {"received": len(chunk)}
        after = run.declare(batch.id, body, "u", 100).json["missing"]
        assert after == [other for other in left if other != index]
    assert run.finalize("u").json == {"accepted": True, "duplicate": False, "version": 0}
    (gradient,) = run.store.gradients.pending()
    assert gradient.path.read_bytes() == body
    assert run.finalize("u").json["duplicate"] is True
    assert run.declare(batch.id, body, "u", 100).json["missing"] == []
    assert run.send_chunk("u", 0, b"x" * 100).status_code == 200
    assert gradient.path.read_bytes() == body, "nothing is written into a committed gradient"
    assert states(run) == {"u": "pending"}


def test_a_chunk_with_other_bytes_is_not_taken_and_what_was_received_stays(leased):
    run, batch, body = leased()
    run.declare(batch.id, body, "u", 100)
    run.send_chunk("u", 0, body[:100])
    spoilt = run.send_chunk("u", 1, b"x" * 100)
    assert (spoilt.status_code, spoilt.json["title"]) == (400, "other bytes")
    run.send_chunk("u", 0, b"y" * 100)
    assert 1 in run.declare(batch.id, body, "u", 100).json["missing"]
    assert run.store.uploads.find("u").path.read_bytes()[:100] == body[:100]
    early = run.finalize("u")
    assert (early.status_code, early.json["type"]) == (409, "urn:ralo:chunks-missing")
    for index, length in ((0, 99), (1000, 1)):
        assert run.send_chunk("u", index, b"z" * length).status_code == 422
    assert run.send_chunk("v", 0, b"z").status_code == 404
    assert run.finalize("v").status_code == 404


def test_an_id_stands_for_one_gradient(leased):
    run, batch, body = leased()
    assert run.declare(batch.id, body, "u").status_code == 200
    other = run.declare(batch.id, body[:-1] + b"x", "u")
    assert (other.status_code, other.json["title"]) == (409, "another upload")
    resumed = run.declare(batch.id, body, "u", 100)
    assert resumed.json == {"declared": False, "chunk_bytes": len(body), "missing": []}


@pytest.mark.parametrize("upload_id", ["../../etc", "a/b", "", "x" * 129])
def test_an_upload_id_cannot_name_a_path(leased, upload_id):
    run, batch, body = leased()
    assert run.declare(batch.id, body, upload_id).status_code == 422
    assert run.send_chunk(upload_id, 0, body).status_code in (400, 422)
    assert run.finalize(upload_id).status_code == 422
    assert files(run) == []


def with_nan(values):
    values["b.bias"][2] = np.nan
    return values


def as_float64(values):
    return {**values, "b.bias": values["b.bias"].astype(np.float64)}


@pytest.mark.parametrize(
    ("spoil", "changes", "reason", "message"),
    [
        (with_nan, {}, "not_finite", "tensor 'b.bias' has 1 values that are not finite"),
        (lambda v: {**v, "b.bias": v["b.bias"][:3]}, {}, "layout", "'b.bias' has 3 values, its"),
        (as_float64, {}, "layout", "tensor 'b.bias' cannot be decoded: ValueError('expected fl"),
        (lambda v: {"a.weight": v["a.weight"]}, {}, "layout", "tensor 'b.bias' is missing"),
        (lambda v: {**v, "c": v["b.bias"]}, {}, "layout", "tensor 'c' is not a parameter"),
        (lambda v: v, {"weight": 0.0}, "declaration", "weight must be a finite number above 0"),
        (lambda v: v, {"base_version": 3}, "declaration", "base_version 3 does not exist"),
        (lambda v: v, {"codec": "bf16"}, "declaration", "the run uses codec 'none'"),
        (lambda v: v, {"size": 1 << 40}, "declaration", "size must lie in [1, "),
        (lambda v: v, {"chunk_bytes": -1}, "declaration", "chunk_bytes must be at least 1"),
        (lambda v: v, {"chunk_sha256": []}, "declaration", "are 1 chunks, got 0 sha256"),
        (lambda v: v, {"chunk_sha256": ["F" * 64]}, "declaration", "no sha256 in hexadecimal"),
    ],
)
def test_a_gradient_that_must_not_be_used_is_refused_by_name_and_counted(
    leased, random_gradient, spoil, changes, reason, message
):
    run, batch, _ = leased()
    answer = run.send_gradient(batch.id, spoil(random_gradient(0)), "bad", **changes)
    assert answer.status_code == 422
    assert message in answer.json["detail"]
    refused = reason == "not_finite"
    assert answer.json["type"] == f"urn:ralo:{'gradient-refused' if refused else 'invalid'}"
    assert stats(run)["refused"] == 1
    assert stats(run)["refused_by_reason"][reason] == 1
    assert files(run) == []
    if reason != "declaration":
        again = run.send_gradient(batch.id, spoil(random_gradient(0)), "bad", **changes)
        assert (again.status_code, again.json) == (422, answer.json)
        assert stats(run)["refused"] == 1, "the same refusal counts once"
    assert run.send_gradient(batch.id, random_gradient(0), "fine").status_code == 200


@pytest.mark.parametrize("codec", ["none", "bf16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_codec_lets_the_door_see_what_is_not_finite(leased, random_gradient, codec, bad):
    run, batch, _ = leased(f"codec.use='{codec}'")
    values = random_gradient(0)
    values["a.weight"][7] = bad
    tensors = {
        f"{name}{suffix}": array
        for name, value in values.items()
        for suffix, array in run.services.codec.encode(name, value).items()
    }
    answer = run.send_gradient(batch.id, tensors, "u", codec=codec)
    assert "tensor 'a.weight' has" in answer.json["detail"]
    assert stats(run)["refused_by_reason"]["not_finite"] == 1


def test_an_outlier_is_refused_with_norm_median_and_tensor(leased, random_gradient):
    run, batch, _ = leased("server.max_norm_ratio=50.0")
    norms = []
    for number in range(8):
        values = random_gradient(number)
        norms.append(float(np.sqrt(sum((v.astype("f8") ** 2).sum() for v in values.values()))))
        huge = {**values, "b.bias": values["b.bias"] * np.float32(1e4)}
        if number == 7:  # seven norms are too few to judge by
            assert run.send_gradient(batch.id, huge, "early").status_code == 200
            run.the_learner._step(run.store.gradients.pending())
        else:
            assert run.send_gradient(batch.id, values, f"g{number}").status_code == 200
        batch = another_batch(run)
    answer = run.send_gradient(batch.id, huge, "late")
    assert answer.status_code == 422
    assert answer.json["type"] == "urn:ralo:gradient-refused"
    found = run.store.uploads.accepted_norms(8)
    assert found[1:] == pytest.approx(norms[6::-1], rel=1e-6)
    for part in (f"{np.median(found):.4g}, the median of the last 8", "'b.bias' has the largest"):
        assert part in answer.json["detail"]
    assert stats(run)["refused_by_reason"]["outlier"] == 1
    assert run.send_gradient(batch.id, values, "fine").status_code == 200


def test_the_norm_check_can_be_off_and_has_nothing_to_say_about_zeros():
    found = Inspection(norm=1e9, largest="w", share=1.0)
    assert check_norm(found, [1.0] * 8, 1e8).reason == "outlier"
    assert check_norm(found, [1.0] * 8, 0.0) == found
    assert check_norm(found, [0.0] * 8, 1e8) == found
    assert check_norm(found, [1.0] * 7, 1e8) == found


def test_a_refused_batch_is_set_aside_and_the_run_goes_on(leased, random_gradient):
    run, batch, _ = leased()
    run.send_gradient(batch.id, with_nan(random_gradient(0)), "bad")
    body = {"lease_ids": [batch.id], "outcome": "failed", "reason": "nan"}
    for released in (1, 0):
        answer = run.http.simulate_post("/lease/release", json=body)
        assert answer.json == {"released": released}
    assert run.batch() is None
    trees = run.http.simulate_get("/stats").json["trees"]
    assert (trees["queued"], trees["leased"], trees["failed"]) == (0, 0, 1)
    assert run.store.trees.unfinished() == 0
    assert len(list(run.directory.samples.iterdir())) == 1, "nothing is deleted"


def test_an_upload_lives_and_ends_with_the_lease_of_its_batch(leased):
    run, batch, body = leased()
    run.declare(batch.id, body, "u", 100)
    run.send_chunk("u", 0, body[:100])
    run.store.uploads.sweep()
    assert files(run) == ["u.safetensors"], "a live upload is not swept"
    expire(run, batch)
    assert states(run) == {"u": "abandoned"}
    assert files(run) == []
    assert run.store.database.rows("SELECT * FROM gradient_chunks") == []
    for late in (
        run.send_chunk("u", 1, body[100:200]),
        run.finalize("u"),
        run.declare(batch.id, body, "u", 100),
        run.declare(batch.id, body, "new"),
    ):
        assert (late.status_code, late.json["title"]) == (409, "lease lost")
    assert stats(run)["abandoned"] == 1
    assert files(run) == []


def test_a_step_leaves_uploads_alone_that_are_still_being_received(leased, random_gradient):
    run, batch, body = leased()
    other = another_batch(run)
    run.declare(batch.id, body, "slow", 200)
    run.send_chunk("slow", 0, body[:200])
    run.send_gradient(other.id, random_gradient(1), "fast")
    run.the_learner._step(run.store.gradients.pending())
    assert files(run) == ["slow.safetensors"]
    for index in range(1, len(body) // 200 + 1):
        assert run.send_chunk("slow", index, body[200 * index :][:200]).status_code == 200
    assert run.finalize("slow").json["accepted"]


def test_the_second_upload_of_a_batch_comes_too_late(leased, random_gradient):
    run, batch, body = leased()
    run.declare(batch.id, body, "slow", 100)
    assert run.send_gradient(batch.id, random_gradient(1), "fast").status_code == 200
    assert run.send_chunk("slow", 0, body[:100]).status_code == 409
    run.store.uploads.sweep()
    assert states(run) == {"slow": "abandoned", "fast": "pending"}
    assert files(run) == ["fast.safetensors"]


def test_new_uploads_wait_while_gradients_wait_for_the_learner(leased, random_gradient):
    run, batch, body = leased("server.pending_gradients=1")
    second = another_batch(run)
    run.declare(second.id, body, "begun")
    assert run.send_gradient(batch.id, random_gradient(0), "first").status_code == 200
    held = run.declare(another_batch(run).id, body, "third")
    assert (held.status_code, held.headers["retry-after"]) == (429, "1")
    assert held.json["type"] == "urn:ralo:queue-full"
    assert run.declare(second.id, body, "begun").json["missing"] == [0], "it had begun before"
    run.the_learner._step(run.store.gradients.pending())
    assert run.send_gradient(second.id, random_gradient(1), "other").status_code == 200


def test_so_many_uploads_at_once_and_no_more(leased, random_gradient):
    run, batch, body = leased("server.concurrent_uploads=1")
    second = another_batch(run)
    assert run.declare(batch.id, body, "first").status_code == 200
    held = run.declare(second.id, body, "second")
    assert (held.status_code, held.headers["retry-after"]) == (503, "1")
    assert run.declare(batch.id, body, "first").status_code == 200
    expire(run, batch)
    assert run.send_gradient(second.id, random_gradient(0), "second").status_code == 200


def test_a_full_disk_holds_everything_back_and_nothing_is_deleted(server, random_gradient):
    probe = Path(server().directory.root)
    spare = 512 * MIB
    free = shutil.disk_usage(probe).free
    if free < 4 * spare:
        pytest.skip("the disk is really full")
    shutil.rmtree(probe)
    run = server(BATCH, f"server.min_free_mb={(free - spare) // MIB}")
    run.learner()
    run.fill(1)
    batch, (problem,) = run.batch(), run.lease()
    body = wire.pack({"codec": "none"}, random_gradient(0))
    assert run.declare(batch.id, body, "begun").status_code == 200
    with (probe.parent / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, 2 * spare)
    for full in (run.declare(batch.id, body, "new"), run.upload(problem)):
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert full.json["type"] == "urn:ralo:disk-full"
    assert run.lease() == []
    assert run.declare(batch.id, body, "begun").json["missing"] == [0]
    (probe.parent / "ballast").unlink()
    assert run.upload(problem).status_code == 200
    assert len(run.lease()) == 1
    assert run.send_gradient(batch.id, random_gradient(0), "begun").status_code == 200


def test_after_the_end_nothing_is_declared_any_more(leased):
    run, batch, body = leased("run.max_steps=1", "evaluation.problems=0")
    run.declare(batch.id, body, "u")
    with run.store.database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('state', '\"finished\"')")
    assert run.declare(batch.id, body, "u").status_code == 410


def test_limits_that_would_stall_the_run_are_refused_together(make_run):
    settings = ("server.pending_gradients=3", "learner.gradients_per_step=4")
    with pytest.raises(ConfigError) as failure:
        make_run(*settings, "server.queued_trees=1", "trainer.batch_trees=2")
    assert len(failure.value.faults) == 2
    assert "learner.gradients_per_step (4): a step could never be due" in str(failure.value)


@pytest.mark.parametrize(
    ("size", "wish", "limit", "agreed"),
    [
        (1000, 100, 4096, 100),
        (1000, 5000, 4096, 4096),
        (MAX_CHUNKS * 100, 1, 4096, 100),
        (MAX_CHUNKS * 100 + 1, 1, 4096, 101),
        (MAX_CHUNKS * 5000, 1, 4096, 4096),
    ],
)
def test_the_chunk_size_is_within_bounds_and_agreed_on_at_once(size, wish, limit, agreed):
    facts = {"upload_id": "u", "batch_id": "b", "worker_id": "w", "base_version": 0,
             "weight": 1.0, "codec": "none", "chunk_sha256": []}  # fmt: skip
    upload = structure({**facts, "size": size, "chunk_bytes": wish}, GradientUpload)
    assert agreed_chunk_bytes(upload, limit) == agreed
    assert agreed_chunk_bytes(attrs.evolve(upload, chunk_bytes=agreed), limit) == agreed


def test_a_too_large_chunk_is_answered_with_the_size_to_use(leased):
    run, batch, body = leased("server.chunk_mb=1")
    answer = run.declare(batch.id, body, "u", 2 * MIB)
    assert answer.json == {"declared": False, "chunk_bytes": MIB, "missing": []}
    assert states(run) == {}


def test_two_never_write_the_same_bytes(tmp_path):
    path = tmp_path / "file"
    path.touch()
    part = PartFile(path, 1000)
    part.preallocate()
    assert path.stat().st_size == 1000
    with part.locked(0, 100):
        with pytest.raises(Occupied), part.locked(50, 100):
            pass
        with part.locked(100, 100):
            pass
    with part.locked(0, 1000):
        pass


def test_a_metric_that_overflows_is_refused_by_name(leased):
    run, batch, body = leased()
    declaration = json.dumps(run.declaration(batch.id, body, "u", len(body)))
    answer = run.http.simulate_post(
        "/gradient/declare", body=declaration.replace('"loss": 0.5', '"loss": 1e999')
    )
    assert answer.status_code == 422
    assert "metric 'loss' is not finite" in answer.json["detail"]


def test_extents_tile_the_body():
    facts = dict.fromkeys(("upload_id", "batch_id", "state", "sha256", "reason", "detail"), "")
    upload = Upload(path=Path("x"), size=250, chunk_bytes=100, base_version=0, **facts)
    assert [upload.extent(index) for index in range(4)] == [
        (0, 100), (100, 100), (200, 50), (300, 0)
    ]  # fmt: skip


def test_a_run_from_before_declarations_goes_on(make_run, random_gradient):
    directory = make_run()
    for path in directory.root.glob("state.db*"):
        path.unlink()
    with sqlite3.connect(directory.state) as old:
        old.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version=1;")
        old.execute(
            """INSERT INTO gradients (upload_id, batch_id, blob, base_version, weight, metrics,
                 state) VALUES ('old', 'b', 'old.safetensors', 0, 2.0, '{}', 'pending')"""
        )
    config, _ = directory.load_config(())
    store = Store(directory, config)
    (gradient,) = store.gradients.pending()
    assert gradient.path == directory.gradients / "old.safetensors"
    assert store.uploads.find("old").state == "pending"
    assert store.uploads.accepted_norms(8) == []
    store.uploads.sweep()
