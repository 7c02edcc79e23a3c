"""`ralo run` end to end: real processes, real HTTP, a real (untrained) Hugging Face model."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests
from patience import PATIENCE, wait_for

SETTINGS = [
    "trainer.batch_trees=4",
    "server.queued_trees=8",
    "sampler.problems_in_flight=4",
    "evaluation.problems=8",
    "sampler.threads=1",
    "trainer.threads=1",
]


def command(*arguments):
    return [sys.executable, "-m", "ralo_core.cli.main", *arguments]


def ralo(*arguments, timeout=2 * PATIENCE, cwd=None):
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_options(model, run_dir, recipe, *settings):
    options = ["run", "--plain", "--tiny", "--plugin", recipe, "--run-dir", str(run_dir)]
    for setting in (f"run.model={model}", *SETTINGS, *settings):
        options += ["--set", setting]
    return options


def steps_of(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "rollouts" in row]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["treepo", "grpo"])
def test_a_run_takes_its_steps_and_leaves_a_loadable_model(recipe, model, tmp_path, own_reward):
    from transformers import AutoModelForCausalLM

    run_dir = tmp_path / "run"
    output = ralo(*run_options(model, run_dir, recipe, "run.max_steps=3", *own_reward))
    assert f"dashboard: {(run_dir / 'server.url').read_text().strip()}" in output
    assert "finished after 3 steps" in output
    assert "held-out greedy accuracy" in output
    assert [step["step"] for step in steps_of(run_dir)] == [1, 2, 3]
    AutoModelForCausalLM.from_pretrained(run_dir / "weights" / "v000003")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "silence"), [("treepo", "no signal: the last"), ("dapo", "no signal: all")]
)
def test_a_run_whose_rewards_are_all_equal_says_so_and_ends(recipe, silence, model, tmp_path):
    """The untrained model never solves a sum: no batch has an advantage, no step is taken."""
    run_dir = tmp_path / "run"
    options, printed = run_options(model, run_dir, recipe), tmp_path / "out.txt"
    with printed.open("w") as output:
        process = subprocess.Popen(command(*options), stdout=output, stderr=subprocess.STDOUT)
        wait_for(lambda: silence in printed.read_text() or process.poll() is not None)
        assert silence in printed.read_text()
        ralo("stop", str(run_dir))
        assert process.wait(PATIENCE) == 0, printed.read_text()
    assert "finished after 0 steps" in printed.read_text()
    assert steps_of(run_dir) == []


@pytest.mark.slow
def test_a_run_ends_when_its_time_is_over(model, tmp_path):
    run_dir = tmp_path / "run"
    settings = ("engine.use=fake", "evaluation.problems=0", "run.max_minutes=0.05")
    assert "finished after" in ralo(*run_options(model, run_dir, "grpo", *settings))


@pytest.mark.slow
def test_the_kl_is_to_the_first_version_however_often_the_run_is_resumed(
    model, tmp_path, own_reward
):
    run_dir = tmp_path / "run"
    settings = (
        "regularisation.kl=0.05", "regularisation.entropy=0.01", "correction.pipeline=['m2po']",
        "optimizer.adamw.lr=0.003", "optimizer.adamw.ess_scaling=sqrt",
        "learner.keep_last_versions=1", "evaluation.problems=0", *own_reward,
    )  # fmt: skip
    for last in (4, 6):
        ralo(*run_options(model, run_dir, "grpo", f"run.max_steps={last}", *settings))
    steps = steps_of(run_dir)
    assert [step["step"] for step in steps] == list(range(1, 7))
    assert steps[0]["reference_kl"] == 0.0, "the first gradient is taken at the reference"
    assert all(step["reference_kl"] > 1e-4 for step in steps[4:]), "the resumed version is not it"
    assert all(step["entropy"] > 1.0 for step in steps)
    for step in steps:
        assert 0.0 <= step["masked_fraction/m2po"] < 1.0
        assert step["learning_rate"] == pytest.approx(0.003 * step["sequence_ess"] ** 0.5)


@pytest.mark.slow
def test_a_run_takes_local_steps(model, tmp_path, own_reward):
    run_dir = tmp_path / "run"
    settings = (
        "run.max_steps=3", "local_steps.steps=2", "local_steps.lr=0.001",
        "optimizer.use=nesterov", "aggregation.use=diloco", "evaluation.problems=0", *own_reward,
    )  # fmt: skip
    ralo(*run_options(model, run_dir, "grpo", *settings))
    steps = steps_of(run_dir)
    assert [step["step"] for step in steps] == [1, 2, 3]
    for step in steps:  # AdamW moves a value by at most about its rate
        assert 0 < step["grad_norm"] < 2 * 0.001 * 740_000**0.5
        assert step["learning_rate"] == 0.7


@pytest.mark.slow
def test_a_batch_without_advantage_is_trained_for_its_entropy(model, tmp_path):
    """The untrained model never solves a sum: the bonus is all there is."""
    run_dir = tmp_path / "run"
    settings = (
        "run.max_steps=3", "regularisation.entropy=0.1", "evaluation.problems=0",
    )  # fmt: skip
    ralo(*run_options(model, run_dir, "grpo", *settings))
    steps = steps_of(run_dir)
    assert len(steps) == 3
    for step in steps:
        assert step["reward"] == step["loss"] == 0
        assert step["grad_norm"] > 0


@pytest.mark.slow
def test_a_reward_function_of_the_users_own_reaches_the_sampler(model, tmp_path):
    (tmp_path / "own_rewards.py").write_text(
        "def quarter(problem, answers):\n    return [0.25 for _ in answers]\n"
    )
    run_dir = tmp_path / "run"
    settings = (
        "run.max_steps=4", "evaluation.every_steps=2", "advantage.grpo.scale=false",
        "reward.pipeline=['function', 'format']", "reward.function.path=own_rewards:quarter",
        "reward.format.pattern='[0-9+=;#]*'", "reward.weights.format=0.5",
    )  # fmt: skip
    ralo(*run_options(model, run_dir, "grpo", *settings), cwd=tmp_path)
    for step in steps_of(run_dir):
        assert step["reward/function"] == 0.25
        assert step["reward"] == pytest.approx(0.25 + 0.5 * step["reward/format"])
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    evaluated = [
        row["version"] for row in map(json.loads, lines) if "eval/held_out/accuracy" in row
    ]
    assert sorted(evaluated) == [0, 2, 4]


@pytest.mark.slow
def test_a_run_survives_kill_9_of_every_process_and_continues_after_ctrl_c(
    model, tmp_path, own_reward
):
    """Two trainers of two ranks each and two samplers: one process of every kind is killed, and
    the run goes on with what is left until it is back."""
    run_dir = tmp_path / "run"
    options = [
        *run_options(model, run_dir, "grpo", "run.max_steps=60", *own_reward),
        *("--trainers", "2", "--samplers", "2", "--nproc", "2"),
    ]
    with (tmp_path / "out.txt").open("w") as output:
        process = subprocess.Popen(
            command(*options), stdout=output, stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as under nohup
        )  # fmt: skip
        step = wait_for_step(run_dir, 2)
        for kind in (" sample ", "ralo_worker.trainer", " train ", "ralo_server.web",
                     "ralo_server.learner", " serve "):  # fmt: skip
            os.kill(descendants(process.pid, kind)[0], signal.SIGKILL)
            step = wait_for_step(run_dir, step + 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0, (tmp_path / "out.txt").read_text()
    reached = steps_of(run_dir)[-1]["step"]
    assert step <= reached < 60
    more = run_options(model, run_dir, "grpo", f"run.max_steps={reached + 2}", *own_reward)
    assert f"finished after {reached + 2} steps" in ralo(*more)
    assert [step["step"] for step in steps_of(run_dir)] == list(range(1, reached + 3))


@pytest.mark.slow
def test_a_run_that_asks_for_tokens_gives_its_workers_theirs(model, tmp_path, own_reward):
    run_dir = tmp_path / "run"
    settings = ("run.max_steps=1", "evaluation.problems=2", "server.auth=on", *own_reward)
    output = ralo(*run_options(model, run_dir, "grpo", *settings))
    assert "finished after 1 steps" in output
    tokens = json.loads((run_dir / "tokens.json").read_text()).values()
    written = output + "".join(path.read_text() for path in (run_dir / "logs").glob("*.log"))
    assert not any(token in written for token in tokens), "no log has them"


def wait_for_step(run_dir, step, seconds=PATIENCE):
    """Return the step that the run has reached, once that is `step` or later."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            url = (run_dir / "server.url").read_text().strip()
            reached = requests.get(f"{url}/stats", timeout=5).json()["step"]
            if reached >= step:
                return reached
        except (OSError, ValueError, KeyError):
            pass  # not up, or not up again
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in (run_dir / "logs").glob("*.log"))
    raise AssertionError(f"step {step} was not reached; logs:\n{logs}")


def descendants(pid, marker):
    """Return the processes below `pid` whose command line contains `marker`."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    below, found = {pid}, []
    for _ in range(6):
        below |= {int(child) for child, parent, _ in rows if int(parent) in below}
    for child, _, arguments in rows:
        if int(child) in below and int(child) != pid and marker in arguments:
            found.append(int(child))
    return found
