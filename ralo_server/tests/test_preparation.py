"""Making a run directory: what cannot work is said before anything is written."""

import json
import shutil

import pytest

from ralo_core import RaloError
from ralo_server.rundir.directory import RunDirectory


def test_a_start_that_cannot_work_leaves_nothing_that_a_later_one_would_take_up(
    make_run, model, tmp_path
):
    root = tmp_path / "run"
    with pytest.raises(RaloError, match="nowhere': there is no such directory"):
        make_run(f"run.model={tmp_path / 'nowhere'}")
    with pytest.raises(RaloError, match="no.jsonl"):
        make_run("problems.use=jsonl", f"problems.jsonl.path={tmp_path / 'no.jsonl'}")
    assert not root.exists()
    assert make_run().settings()["config"]["run"]["model"] == str(model)


def test_a_start_that_broke_off_in_the_middle_takes_the_model_it_is_given_now(make_run, tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.model.mkdir(parents=True)
    for name in ("tokenizer.json", "added_tokens.json"):
        (directory.model / name).write_text("of another model")
    make_run()
    assert (directory.model / "tokenizer.json").read_text() == "{}"
    assert not (directory.model / "added_tokens.json").exists()


def test_a_run_keeps_its_model(make_run, model, tmp_path):
    make_run()
    other = tmp_path / "other"
    shutil.copytree(model, other)
    with pytest.raises(RaloError, match="holds a run of the model .* choose another --run-dir"):
        make_run(f"run.model={other}")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["config"]["run"]["model"] == str(model)


def test_a_batch_that_could_never_fill_up_is_refused(make_run):
    with pytest.raises(RaloError, match=r"queued_trees \(4\) must be at least .*batch_trees \(8\)"):
        make_run("server.queued_trees=4", "trainer.batch_trees=8")


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("trainer.batch_trees=3", r"local_steps.steps \(4\) must be at most .*batch_trees \(3\)"),
        ("trainer.offload_gradients=true", "trainer.offload_gradients = false"),
    ],
)
def test_local_steps_that_cannot_be_taken_are_refused(make_run, setting, fault):
    with pytest.raises(RaloError, match=fault):
        make_run("local_steps.steps=4", setting)
