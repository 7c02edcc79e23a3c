"""At a limit new work waits: nothing is deleted, what has begun goes on."""

import os
import shutil
from pathlib import Path

import pytest
from upload_runs import another_batch, expire

from ralo_core import wire
from ralo_core.errors import ConfigError

MIB = 1 << 20


def test_new_uploads_wait_while_gradients_wait_for_the_learner(leased, random_gradient):
    run, batch, body = leased("server.pending_gradients=2")
    second = another_batch(run)
    run.declare(second.id, body, "begun")
    assert run.send_gradient(batch.id, random_gradient(0), "first").status_code == 200
    third = another_batch(run)
    held = run.declare(third.id, body, "third")
    assert (held.status_code, held.headers["retry-after"]) == (429, "1")
    assert held.json["type"] == "urn:ralo:queue-full"
    assert run.declare(second.id, body, "begun").json["missing"] == [0], "it had begun before"
    run.the_learner.step(run.store.gradients.pending())
    assert run.send_gradient(third.id, random_gradient(1), "third").status_code == 200


def test_gradients_that_are_received_take_places_in_the_queue(leased):
    """Else as many more than allowed could wait as are received at once."""
    run, batch, body = leased("server.pending_gradients=2", "server.concurrent_uploads=4")
    batches = [batch, another_batch(run), another_batch(run)]
    answers = [run.declare(each.id, body, f"u{n}") for n, each in enumerate(batches)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    expire(run, batches[0])
    assert run.declare(batches[2].id, body, "u2").status_code == 200


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
    run = server("trainer.batch_trees=1", f"server.min_free_mb={(free - spare) // MIB}")
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


def test_limits_that_would_stall_the_run_are_refused_together(make_run):
    settings = ("server.pending_gradients=3", "learner.gradients_per_step=4")
    with pytest.raises(ConfigError) as failure:
        make_run(*settings, "server.queued_trees=1", "trainer.batch_trees=2")
    assert len(failure.value.faults) == 2
    assert "learner.gradients_per_step (4): a step could never be due" in str(failure.value)
