"""``ralo launch local``: a run without a terminal, whose workers come and go as they like."""

import os
import random
import signal
import subprocess
from functools import partial

import pytest
from patience import PATIENCE, wait_for
from test_training_run import SETTINGS, command, ralo, steps_of

from ralo_core.access import ADMIN
from ralo_core.client import Client
from ralo_core.client.address import address_of
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.database import Database

wait_until = partial(wait_for, pause=0.2)  # each look asks another process


def stats_of(run_dir):
    return Client(address_of(str(run_dir), ADMIN)).stats()


def children_of(pid):
    """Return pid and command line of the processes that `pid` has started."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout
    return {line.split(None, 1)[1]: int(line.split(None, 1)[0]) for line in found.splitlines()}


def launcher_of(run_dir):
    """Return the pid of the process that ``ralo launch local`` has left behind."""
    found = subprocess.run(
        ["pgrep", "-f", f"ralo.launch.local {run_dir}$"], capture_output=True, text=True
    ).stdout.split()
    return int(found[0]) if found else 0


def options(model, run_dir, *settings):
    every = (f"run.model={model}", *SETTINGS, "engine.use=fake", "evaluation.problems=0", *settings)
    assignments = [part for setting in every for part in ("--set", setting)]
    return ["--plugin", "grpo", "--tiny", "--run-dir", str(run_dir), *assignments]


@pytest.fixture
def run_dir(tmp_path):
    """Return where a run is launched; a test that fails must not leave it running."""
    directory = tmp_path / "run"
    yield directory
    if launcher := launcher_of(directory):
        os.kill(launcher, signal.SIGTERM)
        wait_until(lambda: not launcher_of(directory))


@pytest.mark.slow
def test_it_outlives_its_terminal_is_found_by_its_directory_and_stops(model, run_dir, own_reward):
    arguments = options(model, run_dir, "launch.samplers.count=2", "server.lease_seconds=4.0",
                        *own_reward)  # fmt: skip
    dry = ralo("launch", "local", *arguments, "--dry-run")
    assert [line.partition(":")[0] for line in dry.splitlines()] == [
        "serve", "sample-0", "sample-1", "train-0"
    ]  # fmt: skip
    assert not run_dir.exists()
    output = ralo("launch", "local", *arguments)
    assert f"ralo stop {run_dir}" in output
    launcher = launcher_of(run_dir)
    assert os.getsid(launcher) == launcher, "no terminal's hang-up reaches it"
    logs = lambda: ralo("logs", str(run_dir))  # noqa: E731
    wait_until(lambda: (run_dir / "server.url").exists(), logs)
    wait_until(lambda: stats_of(run_dir).step >= 2, logs)
    # One worker is killed; the launcher starts it again.
    (sampler,) = [pid for line, pid in children_of(launcher).items() if "sample" in line][:1]
    os.kill(sampler, signal.SIGKILL)
    wait_until(lambda: len(stats_of(run_dir).workers) >= 4, logs)
    assert "finished" in ralo("stop", str(run_dir), "--wait")
    wait_until(lambda: not launcher_of(run_dir), logs)
    assert steps_of(run_dir)
    assert "restarting" in (run_dir / "logs" / "launch.log").read_text()


@pytest.mark.slow
def test_several_machines_are_refused_on_one(tmp_path):
    done = subprocess.run(
        command("launch", "local", "--plugin", "grpo", "--run-dir", str(tmp_path), "--dry-run",
                "--set", "launch.trainers.nodes=2"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "launch.trainers.processes" in done.stderr


@pytest.mark.slow
def test_workers_that_join_leave_and_die_lose_nothing_and_count_nothing_twice(
    model, run_dir, tmp_path, own_reward, monkeypatch
):
    """Every tree that a step consumed was sampled once, and each problem has one tree."""
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    dice = random.Random(7)
    # The orchestrator alone; everybody else comes and goes from here.
    none = ("launch.samplers.count=0", "launch.trainers.count=0", "server.lease_seconds=4.0")
    ralo("launch", "local", *options(model, run_dir, *none, *own_reward))
    wait_until(lambda: (run_dir / "server.url").exists())
    crew = []

    def join(role):
        with (run_dir / "logs" / f"guest-{len(crew)}.log").open("wb") as log:
            argv = command(role, "--server", str(run_dir))
            crew.append((role, subprocess.Popen(argv, stdout=log, stderr=log)))

    def leave(role, number):
        at_work = [process for name, process in crew if name == role and process.poll() is None]
        process = dice.choice(at_work)
        process.send_signal(number)
        code = process.wait(PATIENCE)
        assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL)

    logs = lambda: ralo("logs", str(run_dir))  # noqa: E731
    for role in ("sample", "train", "sample"):
        join(role)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGKILL):
        before = stats_of(run_dir).step
        wait_until(lambda before=before: stats_of(run_dir).step >= before + 2, logs)
        for role in ("sample", "train"):
            join(role)
            leave(role, number)
    before = stats_of(run_dir).step
    wait_until(lambda: stats_of(run_dir).step >= before + 2, logs)
    assert "finished" in ralo("stop", str(run_dir), "--wait")
    for _, process in crew:
        process.wait(PATIENCE)
    wait_until(lambda: not launcher_of(run_dir), logs)
    check_books(RunDirectory(run_dir), steps_of(run_dir))


def check_books(directory, steps):
    database = Database(directory.state, read_only=True)
    count = database.value
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    applied = "SELECT {} FROM gradients WHERE state = 'applied'"
    assert count(applied.format("COUNT(*)")) == len(steps), "a gradient a step"
    assert count(applied.format("COUNT(DISTINCT batch_id)")) == len(steps), "of a batch of its own"
    assert count("SELECT COUNT(*) FROM batches WHERE state = 'done'") == len(steps)
    assert count("SELECT COUNT(*) FROM batches WHERE state = 'leased'") == 0
    problems = dict(database.rows("SELECT state, COUNT(*) FROM problems GROUP BY state"))
    # A tree that no trainer took before the end is still there; consumed ones are looked at only.
    left = count("SELECT COUNT(*) FROM trees WHERE state != 'trained'")
    assert problems == {"done": sum(step["trees"] for step in steps) + left}, (
        "a tree for each problem that was handed out, none lost, none twice"
    )
