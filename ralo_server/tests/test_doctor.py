"""``ralo doctor`` on real run directories, each damaged in one way."""

import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from ralo_core import wire
from ralo_core.cli.main import main
from ralo_server.rundir.lock import lock
from ralo_server.rundir.tokens import make_tokens
from ralo_server.store.repair import forget_version
from ralo_server.store.schema import MIGRATIONS

SETTINGS = ("trainer.batch_trees=2", "learner.keep_last_versions=9", "evaluation.problems=2",
            "server.queued_trees=16", "learner.checkpoint_every=2")  # fmt: skip


@pytest.fixture
def run(server, random_gradient):
    """Three steps, the second with a checkpoint, a pending gradient, a leased batch, a queued
    tree; the learner was killed."""
    made = server(*SETTINGS)
    learner = made.learner()
    for seed in (1, 2, 3):
        made.fill(2)
        made.send_gradient(made.batch().id, random_gradient(seed), f"g{seed}")
        learner.step(learner.due())
        learner.settle()
    made.fill(5)
    made.send_gradient(made.batch().id, random_gradient(4), "pending")
    made.leased_batch = made.batch()
    return made


def doctor(run, *options):
    return CliRunner().invoke(main, ["doctor", str(run.directory.root), *options])


def stats(run):
    return run.http.simulate_get("/stats").json


def blob_of(run, state):
    name = run.store.database.value("SELECT blob FROM trees WHERE state = ?", state)
    return run.directory.samples / name


def snapshot(run):
    """Return every file with content and mode but the lock; state.db is looked at as rows."""
    files = {
        str(path): (path.read_bytes(), path.stat().st_mode)
        for path in run.directory.root.rglob("*")
        if path.is_file() and "state.db" not in path.name and path.name != "lock"
    }
    return files, list(run.store.database._connection().iterdump())


def test_a_healthy_run_has_no_fault_and_is_not_touched(run):
    before = snapshot(run)
    for options in ((), ("--fix",)):
        result = doctor(run, *options)
        assert result.exit_code == 0, result.output
        assert "no fault" in result.output
        assert "belongs to nothing" not in result.output
    assert snapshot(run) == before


def damage_queued_tree(run):
    blob_of(run, "queued").unlink()


def damage_leased_tree(run):
    blob_of(run, "leased").write_bytes(b"no tree")


def damage_gradient(run):
    path = run.directory.gradients / "pending.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def damage_gradient_gone(run):
    (run.directory.gradients / "pending.safetensors").unlink()


def damage_old_version(run):
    path = run.store.versions.directory(1) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def stray_tree(run):
    (run.directory.samples / "unknown.safetensors").write_bytes(b"x")


def stray_half_written(run):
    (run.directory.samples / "unknown.safetensors.0.part").write_bytes(b"x")


def stray_applied_gradient(run):
    forget_version(run.store.database, 1)
    shutil.rmtree(run.store.versions.directory(1))


def stray_version(run):
    shutil.copytree(run.store.versions.directory(3), run.directory.weights / "v000004.part")


def stray_optimizer(run):
    shutil.copytree(run.directory.optimizer / "v000002", run.directory.optimizer / "v9")


def open_tokens(run):
    make_tokens(run.directory)
    run.directory.tokens_file.chmod(0o644)


def damage_kept_tree(run):
    kept = run.store.database.value(
        """SELECT t.blob FROM trees t JOIN batches b ON b.id = t.batch_id
           WHERE b.step IS NOT NULL"""
    )
    (run.directory.samples / kept).unlink()


MENDABLE = [
    (damage_kept_tree, "kept after its step: the file is gone"),
    (damage_queued_tree, "the file is gone"),
    (damage_leased_tree, "not a safetensors file"),
    (damage_gradient, "gradient pending.safetensors: the gradient is not a safetensors file"),
    (damage_gradient_gone, "gradient pending.safetensors: the file is gone"),
    (damage_old_version, "version 1: model.safetensors has another sha256"),
    (stray_tree, "samples/unknown.safetensors belongs to nothing"),
    (stray_half_written, "samples/unknown.safetensors.0.part belongs to nothing"),
    (stray_applied_gradient, "gradients/g1.safetensors belongs to nothing"),
    (stray_version, "weights/v000004.part belongs to nothing"),
    (stray_optimizer, "optimizer/v9 belongs to nothing"),
    (open_tokens, "others can read tokens.json"),
]


@pytest.mark.parametrize(("damage", "message"), MENDABLE)
def test_a_damage_is_found_and_only_with_fix_mended(run, damage, message):
    damage(run)
    before = snapshot(run)
    found = doctor(run)
    assert found.exit_code == 1
    assert message in found.output
    assert "--fix:" in found.output
    assert snapshot(run) == before
    mended = doctor(run, "--fix")
    assert message in mended.output, "what will be mended is listed first"
    assert mended.exit_code == 0, mended.output
    assert doctor(run).exit_code == 0
    assert snapshot(run) != before


@pytest.mark.parametrize(
    ("damage", "queued", "leased", "waiting", "trained"),
    [
        (damage_queued_tree, 0, 2, 1, 8),
        (damage_leased_tree, 2, 0, 1, 8),
        (damage_gradient_gone, 3, 2, 0, 6),
    ],
)
def test_what_a_lost_blob_was_made_from_is_worked_on_again(
    run, damage, queued, leased, waiting, trained
):
    damage(run)
    doctor(run, "--fix")
    found = stats(run)
    trees = found["trees"]
    assert (trees["queued"], trees["leased"], trees["trained"]) == (queued, leased, trained)
    assert found["problems"]["waiting"] == waiting
    assert len(run.lease(16)) == 16 - queued


def test_the_late_gradient_of_a_batch_that_lost_a_tree_is_refused(run, random_gradient):
    damage_leased_tree(run)
    doctor(run, "--fix")
    late = run.send_gradient(run.leased_batch.id, random_gradient(0), "late")
    assert late.status_code == 409


def test_one_damage_behind_another_is_mended_too(run):
    """The gradient is gone, and so is a tree that it was made from."""
    batch = run.store.database.value("SELECT batch_id FROM gradients WHERE state = 'pending'")
    tree = run.store.database.value("SELECT blob FROM trees WHERE batch_id = ?", batch)
    damage_gradient_gone(run)
    (run.directory.samples / tree).unlink()
    result = doctor(run, "--fix")
    assert result.exit_code == 0, result.output
    assert stats(run)["problems"]["waiting"] == 1
    assert stats(run)["trees"]["queued"] == 2


def damage_newest(run):
    (run.store.versions.directory(3) / "config.json").unlink()


def damage_first(run):
    shutil.rmtree(run.store.versions.directory(0))


def damage_manifest(run):
    (run.store.versions.directory(3) / "manifest.json").write_text("{}")


def damage_optimizer(run):
    path = run.directory.optimizer / "v000002" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def damage_optimizer_gone(run):
    shutil.rmtree(run.directory.optimizer / "v000002")


def damage_logged_gradient(run):
    path = run.directory.gradients / "g3.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def damage_logged_gradient_gone(run):
    (run.directory.gradients / "g3.safetensors").unlink()


def fill_the_disk(run):
    """Make what the next step writes larger than any disk: a file of holes."""
    with (run.directory.optimizer / "v000002" / "more").open("wb") as file:
        file.truncate(1 << 43)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_newest, "version 3: config.json is gone; go back to a kept version"),
        (damage_first, "version 0: its folder is gone; put the folder back"),
        (damage_manifest, "version 3: manifest.json is not that of this version"),
        (damage_optimizer, "optimizer state v000002, from which a start goes on"),
        (damage_optimizer_gone, "it is gone; go back to a kept version"),
        (damage_logged_gradient, "gradient g3.safetensors, with which a start takes"),
        (damage_logged_gradient_gone, "the file is gone; put it back from a copy, or go back"),
        (fill_the_disk, "bytes left, the next step writes about 8,796"),
    ],
)
def test_what_cannot_be_mended_safely_is_left_with_the_way_out(run, damage, message):
    damage(run)
    before = snapshot_without_holes(run)
    result = doctor(run, "--fix")
    assert result.exit_code == 1
    assert message in result.output
    assert snapshot_without_holes(run) == before


def snapshot_without_holes(run):
    names = {
        (str(path), path.stat().st_size) for path in run.directory.root.rglob("*")
        if path.is_file() and "state.db" not in path.name and path.name != "lock"
    }  # fmt: skip
    return names, list(run.store.database._connection().iterdump())


def close_database(run):
    # A thread of the learner's may have a connection still: then closing this one moves nothing.
    run.store.database._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    run.store.database._connection().close()


def test_a_damaged_database_is_named(run):
    close_database(run)
    content = bytearray(run.directory.state.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    run.directory.state.write_bytes(content)
    result = doctor(run)
    assert result.exit_code == 1
    assert "state.db is damaged" in result.output


def test_a_database_of_another_schema_is_named_and_an_older_one_brought_up(run, monkeypatch):
    connection = run.store.database._connection()
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    assert "written by a newer ralo-server" in doctor(run, "--fix").output
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    for module in ("database", "inspection"):
        newer = (*MIGRATIONS, "CREATE TABLE later (a)")
        monkeypatch.setattr(f"ralo_server.store.{module}.MIGRATIONS", newer)
    result = doctor(run)
    assert result.exit_code == 1
    assert "1 schema version older" in result.output
    assert doctor(run, "--fix").exit_code == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("config.json", "config.json cannot be read"), ("state.db", "state.db is gone")],
)
def test_a_missing_foundation_is_named(run, name, message):
    close_database(run)
    (run.directory.root / name).unlink()
    result = doctor(run)
    assert result.exit_code == 1
    assert message in result.output


def test_a_running_run_is_looked_at_and_not_mended(run):
    stray_tree(run)
    with lock(run.directory):
        looked = doctor(run)
        assert f"an orchestrator is running here (process {os.getpid()})" in looked.output
        assert looked.exit_code == 0, "the file may be on its way to its row"
        refused = doctor(run, "--fix")
        assert refused.exit_code == 1
        assert "another orchestrator is running" in refused.output
    assert doctor(run).exit_code == 1


def test_a_killed_orchestrator_and_an_upload_under_way_are_no_fault(run):
    run.directory.lock_file.write_text("4711")
    body = wire.pack({}, {"w": np.zeros(9, np.float32)})
    leased = run.store.database.value("SELECT id FROM batches WHERE state = 'leased'")
    assert run.declare(leased, body, "u").json["missing"] == [0]
    result = doctor(run)
    assert result.exit_code == 0, result.output
    assert "the last orchestrator was killed" in result.output
    assert doctor(run, "--fix").exit_code == 0
    assert (run.directory.gradients / "u.safetensors").exists()


def test_a_version_whose_state_cannot_be_restored_is_worth_a_note(run):
    (run.directory.gradients / "g1.safetensors").unlink()
    result = doctor(run)
    assert result.exit_code == 0
    assert "version 1 cannot be gone back to: gradient g1.safetensors of step 1" in result.output


def test_a_damaged_old_version_is_not_evaluated_any_more(run):
    with run.store.database.write() as connection:
        run.store.evaluations.schedule(connection, 1, ["held_out"])
    damage_old_version(run)
    doctor(run, "--fix")
    assert run.store.evaluations.open_versions() == [0]
    assert run.store.shards.counts()["waiting"] == 1
    assert not run.store.versions.directory(1).exists(), "pruned, so it belonged to nothing"
    assert json.loads((run.directory.weights / "v000003" / "manifest.json").read_text())
