"""Going back to a version that is kept: what comes back, what is discarded, what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from ralo_core import PROMPT, TreeBuilder, wire
from ralo_core.cli.main import main
from ralo_core.errors import RaloError
from ralo_server.gradients.checks import REASONS
from ralo_server.rollback import roll_back
from ralo_server.rundir.lock import lock
from ralo_server.store.versions import Origin, abandoned

SETTINGS = ("trainer.batch_trees=1", "optimizer.adamw.lr=0.01", "learner.keep_last_versions=9",
            "server.queued_trees=16", "evaluation.problems=2")  # fmt: skip
EVERY_STEP = "learner.checkpoint_every=1"


@pytest.fixture
def trained(server, random_gradient):
    """Return a function that gives a run of so many steps, every version kept."""

    def make(steps, *settings):
        run = server(*SETTINGS, *settings)
        run.train = lambda seeds: train(run, random_gradient, seeds)
        run.train(range(1, steps + 1))
        return run

    return make


def train(run, random_gradient, seeds):
    """Take one step per seed, on the newest version, and stop."""
    learner = run.learner()
    for seed in seeds:
        run.fill(1)
        newest = run.store.versions.newest_number()
        sent = run.send_gradient(
            run.batch().id, random_gradient(seed), f"g{newest}-{seed}", base_version=newest
        )
        assert sent.status_code == 200, sent.text
        learner.step(learner.due())
    learner.close()


def weights(run, version):
    return load_file(run.store.versions.directory(version) / "model.safetensors")


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


@pytest.mark.parametrize("every", [1, 2, 3, 8])
def test_training_goes_on_as_if_the_steps_between_had_never_been(trained, every):
    """Weights and Adam's moments are those of then: the same gradients give the same bits."""
    straight, back = trained(4, "run.name=a"), None
    expected = weights(straight, 4)
    shutil.rmtree(straight.directory.root)
    back = trained(2, "run.name=b", f"learner.checkpoint_every={every}")
    back.train([77, 78])
    assert not equal(weights(back, 4), expected)
    version, _ = roll_back(back.store, 2)
    assert (version.number, version.parent) == (5, 2)
    assert equal(weights(back, 5), weights(back, 2))
    back.train([3, 4])
    assert back.store.versions.newest_number() == 7
    assert back.store.run.step() == 6, "steps are not counted back"
    assert equal(weights(back, 7), expected)


def test_version_0_comes_back_with_a_fresh_optimizer(trained):
    run = trained(2)
    expected = weights(run, 1)
    version, _ = roll_back(run.store, 0)
    assert equal(weights(run, version.number), weights(run, 0))
    run.train([1])
    assert equal(weights(run, run.store.versions.newest_number()), expected)


def test_a_version_that_came_from_a_rollback_can_be_gone_back_to(trained):
    run = trained(2)
    first, _ = roll_back(run.store, 1)
    run.train([9])
    second, _ = roll_back(run.store, first.number)
    assert equal(weights(run, second.number), weights(run, 1))
    assert [n for n in range(6) if abandoned(run.store.database, [n])] == [2, 4]


def test_the_optimizer_state_stays_while_any_version_names_it(trained):
    """The learner writes over folders that no version names: none may be linked into another."""
    run = trained(2, EVERY_STEP)
    version, _ = roll_back(run.store, 1)
    kept = {entry.version.number: entry.origin for entry in run.store.versions.kept()}
    assert kept[version.number] == kept[1] == Origin(checkpoint="v000001")
    for file in (run.directory.optimizer / "v000001").iterdir():
        assert file.stat().st_nlink == 1


def test_the_log_of_a_version_stays_while_it_can_be_gone_back_to(trained):
    """Two versions are one state after a rollback; a checkpoint of the later one is its own."""
    run = trained(3, "learner.keep_last_versions=2")
    version, _ = roll_back(run.store, 2)
    origins = {entry.version.number: entry.origin for entry in run.store.versions.kept()}
    assert origins[version.number] == Origin(replay=(1, 2))
    learner = run.learner()
    learner.finish()
    assert run.store.versions.newest_origin() == Origin(checkpoint="v000004")
    assert {path.stem for path in run.directory.gradients.iterdir()} == {"g0-1", "g1-2", "g2-3"}
    assert [path.name for path in run.directory.optimizer.iterdir()] == ["v000004"]
    run.train([7])
    assert [path.stem for path in run.directory.gradients.iterdir()] == ["g4-7"]


def tree_at(run, versions):
    """Upload a tree whose segments were made by `versions`, one after the other."""
    (leased,) = run.lease()
    builder, parent = TreeBuilder(leased["problem"]["id"], [1], lease_id=leased["lease_id"]), PROMPT
    for version in versions[:-1]:
        parent = builder.add_segment(parent, [2], [-1.0], version)
    builder.add_leaf(builder.add_segment(parent, [3], [-1.0], versions[-1]), "eos")
    tree = builder.build().with_rewards({}, np.ones(1, np.float32))
    return leased, run.post_tree(wire.pack_tree(tree), leased["lease_id"])


def test_what_abandoned_versions_made_is_discarded_and_the_work_done_again(
    trained, random_gradient
):
    run = trained(3, EVERY_STEP)
    for upload, base in (("kept", 1), ("gone", 3)):
        tree_at(run, [0])
        run.send_gradient(run.batch().id, random_gradient(5), upload, base_version=base)
    for versions in ([0, 1], [1, 2], [3]):
        assert tree_at(run, versions)[1].status_code == 200
    problems = {row["id"] for row in run.store.database.rows(
        "SELECT id FROM problems WHERE lease_id IN (SELECT lease_id FROM trees "
        "WHERE oldest_version > 0)")}  # fmt: skip
    trained_before = run.http.simulate_get("/stats").json["trees"]["trained"]
    _, discarded = roll_back(run.store, 1)
    assert (len(discarded.gradients), len(discarded.trees)) == (1, 2)
    stats = run.http.simulate_get("/stats").json
    assert {state: number for state, number in stats["gradients"].items() if number} == {
        "pending": 1, "applied": 3, "discarded": 1,
        "refused_by_reason": dict.fromkeys(REASONS, 0),
    }  # fmt: skip
    assert (stats["trees"]["queued"], stats["trees"]["discarded"]) == (2, 2), "0 waits again"
    assert stats["trees"]["trained"] == trained_before - 1
    assert [path.name for path in run.directory.gradients.iterdir()] == ["kept.safetensors"]
    again = run.lease(2)
    assert {item["problem"]["id"] for item in again} == problems
    blobs = {row["blob"] for row in run.store.database.rows(
        "SELECT blob FROM trees WHERE state IN ('queued', 'trained')")}  # fmt: skip
    assert {path.name for path in run.directory.samples.iterdir()} == blobs


def test_workers_that_knew_the_abandoned_versions_are_refused(trained, random_gradient):
    run = trained(3)
    run.fill(1)
    batch, (problem,) = run.batch(), run.lease()
    roll_back(run.store, 1)
    late = run.send_gradient(batch.id, random_gradient(0), "late", base_version=3)
    assert late.status_code == 409
    assert run.upload(problem).status_code == 409
    leased, answer = tree_at(run, [3])
    assert answer.status_code == 409
    assert answer.json["title"] == "version abandoned"
    assert run.lease()[0]["problem"] == leased["problem"], "it waits again at once"
    anew = run.batch()
    late = run.send_gradient(anew.id, random_gradient(0), "later", base_version=2)
    assert late.status_code == 409
    assert run.batch() is not None, "the batch went back to the queue at once"
    assert run.store.gradients.pending() == []


def test_the_rollback_is_evaluated_and_trackers_are_told(trained):
    run = trained(2)
    roll_back(run.store, 1)
    run.learner().trackers.close()
    run.learner().trackers.close()
    rows = map(json.loads, (run.directory.root / "metrics.jsonl").read_text().splitlines())
    (told,) = (row for row in rows if "rollback_to" in row)
    assert (told["step"], told["version"], told["rollback_to"]) == (2, 3, 1)
    assert 3 in run.store.evaluations.open_versions()


def rollback(run, version):
    arguments = ["rollback", str(run.directory.root), "--to", str(version)]
    return CliRunner().invoke(main, arguments)


def test_the_command_says_what_it_did_and_how_to_go_on(trained):
    run = trained(2)
    result = rollback(run, 1)
    assert result.exit_code == 0, result.output
    assert "version 3 is version 1 again" in result.output
    assert f"ralo serve --resume {run.directory.root}" in result.output


def test_it_is_refused_while_an_orchestrator_runs(trained):
    run = trained(2)
    with lock(run.directory):
        result = rollback(run, 1)
    assert result.exit_code == 1
    assert "another orchestrator is running" in result.output
    assert run.store.versions.newest_number() == 2


@pytest.mark.parametrize(
    ("damage", "version", "message"),
    [
        (lambda run: None, 7, "version 7 is not kept; kept are 0, 1, 2, 3, 4"),
        (lambda run: None, 4, "version 4 is the newest one"),
        (
            lambda run: (run.store.versions.directory(1) / "model.safetensors").write_bytes(b"x"),
            1,
            "version 1 is not whole: model.safetensors has 1 bytes",
        ),
        (
            lambda run: shutil.rmtree(run.directory.optimizer / "v000001"),
            1,
            "its optimizer state v000001 is gone; others that are kept: 0, 2, 3, 4",
        ),
        (
            lambda run: (run.directory.gradients / "g2-3.safetensors").unlink(),
            3,
            "g2-3.safetensors of step 3 is gone or cut off; others that are kept: 0, 1, 2, 4",
        ),
        (
            lambda run: run.store.database._connection().execute(
                "UPDATE versions SET optimizer = '', replay = '[]'"
            ),
            1,
            "its optimizer state was not kept",
        ),
    ],
)
def test_a_version_that_is_not_there_whole_is_refused(trained, damage, version, message):
    run = trained(2, EVERY_STEP)
    run.store.config.data["learner"]["checkpoint_every"] = 8
    run.train([3, 4])
    damage(run)
    result = rollback(run, version)
    assert result.exit_code == 1
    assert message in result.output
    assert run.store.versions.newest_number() == 4


def test_broken_off_before_the_commit_it_has_changed_nothing(trained, monkeypatch):
    run = trained(2)
    before = [path.name for path in run.directory.weights.glob("v*")]

    def power_cut(*_):
        raise RaloError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(type(run.store.evaluations), "schedule", power_cut)
        with pytest.raises(RaloError, match="power cut"):
            roll_back(run.store, 1)
    assert run.store.versions.newest_number() == 2
    run.learner()  # a start removes what was made for it
    assert sorted(path.name for path in run.directory.weights.glob("v*")) == sorted(before)
    assert roll_back(run.store, 1)[0].number == 3
