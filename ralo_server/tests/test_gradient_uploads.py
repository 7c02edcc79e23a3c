"""The life of a gradient upload, request by request, on a real store."""

import errno
import sqlite3
from pathlib import Path

import attrs
import pytest
from upload_runs import another_batch, expire, files, states, stats

from ralo_core import GradientUpload
from ralo_core.structuring import structure
from ralo_server.gradients.checks import MAX_CHUNKS, agreed_chunk_bytes
from ralo_server.gradients.part_file import Occupied, PartFile
from ralo_server.store import Store
from ralo_server.store.schema import MIGRATIONS
from ralo_server.store.uploads import Upload

MIB = 1 << 20


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


def test_any_request_has_uploads_without_a_lease_abandoned(leased):
    run, batch, body = leased()
    run.declare(batch.id, body, "u", 100)
    with run.store.database.write() as connection:
        connection.execute("UPDATE batches SET expires = 1.0 WHERE id = ?", (batch.id,))
    run.services._expiry._next = 0.0  # a second later
    assert stats(run)["abandoned"] == 1
    assert files(run) == []


def test_a_gradient_that_was_left_out_is_known_when_it_is_sent_again(leased, random_gradient):
    run, batch, _ = leased("aggregation.use='staleness_mean'",
                           "aggregation.staleness_mean.max_staleness=0")  # fmt: skip
    other = another_batch(run)
    run.send_gradient(batch.id, random_gradient(0), "first")
    run.the_learner.step(run.store.gradients.pending())
    run.send_gradient(other.id, random_gradient(1), "stale")
    run.the_learner.step(run.store.gradients.pending())
    assert states(run) == {"first": "applied", "stale": "left_out"}
    for upload_id in ("first", "stale"):
        assert run.finalize(upload_id).json["duplicate"]


def test_a_chunk_that_does_not_reach_the_disk_is_not_recorded(leased, monkeypatch):
    run, batch, body = leased()
    run.declare(batch.id, body, "u")

    def broken(descriptor):
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as broken_disk:
        broken_disk.setattr("ralo_server.gradients.part_file.os.fdatasync", broken)
        assert run.send_chunk("u", 0, body).status_code == 500
    assert run.declare(batch.id, body, "u").json["missing"] == [0]
    assert run.send_chunk("u", 0, body).status_code == 200


def test_a_step_leaves_uploads_alone_that_are_still_being_received(leased, random_gradient):
    run, batch, body = leased()
    other = another_batch(run)
    run.declare(batch.id, body, "slow", 200)
    run.send_chunk("slow", 0, body[:200])
    run.send_gradient(other.id, random_gradient(1), "fast")
    run.the_learner.step(run.store.gradients.pending())
    assert files(run) == ["fast.safetensors", "slow.safetensors"], "the one is the step's log"
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


def test_after_the_end_nothing_is_declared_any_more(leased):
    run, batch, body = leased("run.max_steps=1", "evaluation.problems=0")
    run.declare(batch.id, body, "u")
    with run.store.database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('state', '\"finished\"')")
    assert run.declare(batch.id, body, "u").status_code == 410


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
             "weight": 1.0, "codec": "none", "chunk_digests": []}  # fmt: skip
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


def test_extents_tile_the_body():
    facts = dict.fromkeys(("upload_id", "batch_id", "state", "identity", "reason", "detail"), "")
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
