"""wandb and TensorBoard get what metrics.jsonl has, read back from their own files."""

import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_file import history, of_kind

from ralo_core.errors import RaloError
from ralo_server.rundir.secrets_removed import REMOVED, without_secrets

TRACKED = (
    "trainer.batch_trees=1", "evaluation.problems=2", "trackers.pipeline=['wandb', 'tensorboard']",
    "trackers.wandb.mode=offline", "trackers.wandb.project=lab", "trackers.wandb.tags=['a']",
    "trackers.wandb.group=g", "trackers.wandb.entity=us",
)  # fmt: skip


def take_step(run, learner, gradient, name):
    run.fill(1)
    run.send_gradient(run.batch().id, gradient, name)
    learner.step(learner.due())


def lines(run):
    return [json.loads(line) for line in (run.directory.root / "metrics.jsonl").open()]


@pytest.fixture
def tracked(server, random_gradient):
    """A run of three steps over two starts; version 0 was evaluated after step 2."""
    run = server(*TRACKED)
    learner = run.learner()
    learner.trackers.tell()
    take_step(run, learner, random_gradient(1), "g1")
    learner.trackers.tell()
    take_step(run, learner, random_gradient(2), "g2")
    learner.trackers.tell()
    run.report(run.claim(), [True, True])
    learner.close()
    learner = run.learner()
    take_step(run, learner, random_gradient(3), "g3")
    learner.close()
    assert not learner.left_behind
    return run


def test_wandb_and_tensorboard_have_what_the_lines_have(tracked):
    rows = lines(tracked)
    assert [row["step"] for row in rows] == [1, 2, 0, 3]
    told = history(tracked.directory.root)
    assert len(told) == len(rows)
    for row, expected in zip(told, rows, strict=True):
        assert {name: row[name] for name in expected} == expected
    check_events(tracked.directory.root / "tensorboard", rows)


def check_events(folder, rows):
    events = EventAccumulator(str(folder)).Reload()
    names = {name for row in rows for name in row} - {"step", "time"}
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        expected = [(row["step"], row[name]) for row in rows if name in row]
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(step, pytest.approx(value)) for step, value in expected]
    assert events.Scalars("reward")[0].wall_time == pytest.approx(rows[0]["time"])


def test_wandb_goes_on_with_the_same_run_over_the_optimizer_step(tracked):
    root = tracked.directory.root
    first, second = of_kind(root, "run")[:2]
    assert first.run_id == second.run_id == (root / "wandb.id").read_text()
    assert (first.project, first.entity, first.run_group) == ("lab", "us", "g")
    assert (list(first.tags), first.display_name) == (["a"], root.name)
    config = {update.key: json.loads(update.value_json) for update in first.config.update}
    assert config["optimizer"]["use"] == "adamw"
    axes = {
        metric.glob_name or metric.name: metric.step_metric for metric in of_kind(root, "metric")
    }
    assert axes == {"step": "", "*": "step"}


def test_a_config_is_sent_without_its_secrets():
    config = {
        "reward": {"judge": {"api_key": "sk-1", "max_tokens": 5, "url": "https://me:pw@lab/v1"}},
        "launch": {"environment": {"HF_TOKEN": "hf_1"}, "token": "", "tokens": ["x"]},
    }
    cleaned = without_secrets(config)
    judge = {"api_key": REMOVED, "max_tokens": 5, "url": f"https://{REMOVED}@lab/v1"}
    assert cleaned["reward"]["judge"] == judge
    assert cleaned["launch"]["environment"] == {"HF_TOKEN": REMOVED}
    assert "sk-1" in str(config), "the run keeps its own"


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_missing_package_is_named_before_a_run_is_made(make_run, monkeypatch, tmp_path, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(RaloError, match=f"pip install 'ralo-server\\[{name}\\]'"):
        make_run(f"trackers.pipeline=['{name}']")
    assert not (tmp_path / "run").exists()


def test_the_web_side_needs_neither_package():
    code = (
        "import sys, ralo_server.web.app; print({'wandb', 'tensorboard', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
