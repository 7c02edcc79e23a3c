"""``ralo runs``: what is found, and that looking changes nothing."""

import json

from click.testing import CliRunner

from ralo_core.cli.main import main
from ralo_server.rundir.lock import lock
from ralo_server.rundir.stored_config import stored_config


def ralo_runs(*arguments):
    result = CliRunner().invoke(main, ["runs", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def listed(folder):
    return {row["name"]: row for row in json.loads(ralo_runs(folder, "--json"))}


def test_runs_are_listed_with_state_progress_and_size(server, make_run, random_gradient, tmp_path):
    run = server("trainer.batch_trees=1", "evaluation.problems=2", "run.name=first")
    learner = run.learner()
    run.fill(1)
    run.send_gradient(run.batch().id, random_gradient(1), "g")
    learner.step(learner.due())
    run.report(run.claim(), (True, False))
    fresh = make_run("run.name=second", name="other")
    (tmp_path / "no-run").mkdir()
    with lock(fresh):
        found = listed(tmp_path)
    assert sorted(found) == ["first", "second"]
    first, second = found["first"], found["second"]
    assert (first["state"], first["running"]) == ("stopped", False)
    assert (second["state"], second["running"]) == ("running", True)
    assert (first["step"], first["version"]) == (1, 1)
    assert (first["reward"], first["accuracy"]) == (0.5, 0.5)
    assert (second["step"], second["version"], second["reward"]) == (0, -1, None)
    weights = run.store.versions.directory(1) / "model.safetensors"
    assert first["bytes"] > weights.stat().st_size
    assert first["recipe"] == "test"
    assert list(listed(fresh.root)) == ["second"], "a run directory itself can be named"


def test_the_table_names_them_too(make_run, tmp_path):
    directory = make_run("run.name=only")
    assert "only (run)" in ralo_runs(tmp_path)
    assert "stopped" in ralo_runs(tmp_path)
    with lock(directory):
        assert "running now" in ralo_runs(tmp_path)
    assert "there is no run" in ralo_runs(directory.logs)


def test_a_damaged_run_does_not_hide_the_others(make_run, tmp_path):
    make_run("run.name=good", name="good")
    bad = make_run("run.name=bad", name="bad")
    for file in bad.root.glob("state.db*"):
        file.write_bytes(b"this is no database" * 100)
    states = {row["directory"].rsplit("/")[-1]: row["state"] for row in listed(tmp_path).values()}
    assert states == {"good": "stopped", "bad": "unreadable"}


def test_a_file_with_two_names_counts_once(make_run, tmp_path):
    directory = make_run("run.name=r")
    listed(tmp_path)  # SQLite tidies up behind the first who looks
    before = listed(tmp_path)["r"]["bytes"]
    (directory.samples / "a").write_bytes(b"x" * 1000)
    (directory.samples / "b").hardlink_to(directory.samples / "a")
    assert listed(tmp_path)["r"]["bytes"] == before + 1000


def test_the_stored_config_is_the_one_the_run_was_made_with(make_run):
    directory = make_run("run.max_steps=5", "sampling.use='treepo'")
    loaded, registry = directory.load_config(())
    config, recipe = stored_config(directory, registry, ["run.max_steps=9"])
    assert recipe == "test"
    assert config.data == {**loaded.data, "run": {**loaded.data["run"], "max_steps": 9}}
    assert config.sources["run.max_steps"] == "--set"
    assert config.sources["sampling.use"] == "--set"
    assert config.sources["server.port"] == "default"
