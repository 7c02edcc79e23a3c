"""kill -9 at every durable operation of the learner: a restart makes the run whole again.

One seam counts the operations (files opened for writing, allocated, written to, synced, renamed,
linked and removed, folders made, transactions, slices stepped); a forked process kills itself
before the k-th, for every k. A checkpoint is waited for, so that its operations, which another
thread makes, have their place among the others.
"""

import itertools
import os
import shutil
import signal
import sqlite3
import sys

import pytest
import torch

from ralo_core.plugins import PluginHost
from ralo_server.learner.loop import Learner
from ralo_server.learner.publish import publisher as publishing
from ralo_server.learner.state import sliced_optimizer
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_server.store.steps import Steps
from ralo_server.store.versions import Versions

torch.set_num_threads(1)

SECTIONS = ("aggregation", "optimizer", "codec", "trackers")
AUDITED = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killer:
    """Kills this process before its `number`-th operation once it is armed."""

    def __init__(self, number):
        self.left, self.armed = number, False
        sys.addaudithook(self.audit)
        os.fsync = self.before(os.fsync)
        os.pwrite = self.before(os.pwrite)
        os.posix_fallocate = self.before(os.posix_fallocate)
        optimizer = sliced_optimizer.SlicedOptimizer
        optimizer.step = self.before(optimizer.step)
        connect, killer = sqlite3.connect, self

        class Connection(sqlite3.Connection):
            def execute(self, sql, *values):
                if sql in ("BEGIN IMMEDIATE", "COMMIT"):
                    killer.tick()
                return super().execute(sql, *values)

        sqlite3.connect = lambda *args, **options: connect(*args, factory=Connection, **options)

    def before(self, function):
        def ticking(*args, **options):
            self.tick()
            return function(*args, **options)

        return ticking

    def audit(self, event, args):
        if event in AUDITED or (event == "open" and args[2] & WRITING):
            self.tick()

    def tick(self):
        if self.armed:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def learner_of(root):
    directory = RunDirectory(root)
    config, _ = directory.load_config(SECTIONS)
    return Learner(Store(directory, config), PluginHost())


def take_steps(learner, most=100):
    while most and (due := learner.due()):
        learner.step(due)
        learner.settle()
        most -= 1


def dies(root, number, act):
    """Say whether `act` in a process of its own reaches operation `number`, and dies there."""
    child = os.fork()
    if not child:
        try:
            act(root, Killer(number))
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def contents(root):
    """Return everything of a run's folders that must not depend on kills."""
    files = {
        str(path.relative_to(root)): path.read_bytes()
        for name in ("weights", "optimizer", "gradients", "samples")
        for path in (root / name).rglob("*")
        if path.is_file()
    }
    return {name: data for name, data in files.items() if not name.endswith("manifest.json")}


def finish(root):
    """Restart, work off what is pending, stop with a checkpoint; return the folders and what the
    store says."""
    learner = learner_of(root)
    learner.open()
    take_steps(learner)
    learner.finish()
    rows = learner.store.database.rows
    gradients = [tuple(row) for row in rows("SELECT upload_id, state FROM gradients")]
    steps = [row[0] for row in rows("SELECT step FROM steps ORDER BY step")]
    return contents(root), sorted(gradients), steps


def kill_everywhere(template, tmp_path, act):
    """Kill `act` on a copy of `template` before every operation; return how many there were."""
    shutil.copytree(template, tmp_path / "undisturbed")
    expected = finish(tmp_path / "undisturbed")
    number, died = 0, True
    while died:
        number += 1
        root = tmp_path / f"killed-{number}"
        shutil.copytree(template, root)
        died = dies(root, number, act)
        assert finish(root) == expected, f"killed before operation {number}"
        shutil.rmtree(root)
    return number - 1


@pytest.fixture(autouse=True)
def deltas(monkeypatch):
    """Write a delta with every step, although the model is too small for one to be worth it."""
    monkeypatch.setattr(publishing, "_CLEARLY_SMALLER", 1000.0)


@pytest.fixture
def make_template(server, random_gradient):
    """Return a function that makes a run of which only the newest version is kept, with so many
    gradients that wait for their step."""

    def make(gradients, *settings):
        run = server(
            "trainer.batch_trees=1", "learner.keep_last_versions=1", "optimizer.adamw.lr=0.01",
            "server.queued_trees=16", "rollouts.keep_last=1", "rollouts.keep_every=2", *settings,
        )  # fmt: skip
        run.learner()
        for number in range(gradients):
            run.fill(1)
            run.send_gradient(run.batch().id, random_gradient(number), f"g{number}")
        return run.directory.root

    return make


@pytest.fixture
def template(make_template):
    """A run with four gradients, one per step."""
    return make_template(4)


def step_after(before):
    """Return an act in which the step is killed that comes after `before` others."""

    def act(root, killer):
        learner = learner_of(root)
        learner.open()
        take_steps(learner, before)
        killer.armed = True
        take_steps(learner, 1)
        killer.armed = False

    return act


def transaction_of_step(step, part, name):
    """Return an act that is killed where `step` is about to call method `name` of `part`, a class
    of the store."""

    def act(root, killer):
        learner = learner_of(root)
        learner.open()
        take_steps(learner, step - 1)

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(part, name, die)  # in a process of its own
        take_steps(learner, 1)

    return act


STEPS = {
    "first": (8, 1, step_after(0)),
    "in place": (8, 1, step_after(2)),
    "in place, of two gradients": (8, 2, step_after(1)),
    "in place, with a checkpoint": (2, 1, step_after(1)),
    "after a checkpoint, in the folder of another": (1, 1, step_after(2)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_killed_at_any_operation_is_taken_exactly_once(make_template, tmp_path, name):
    every, gradients, act = STEPS[name]
    template = make_template(
        4 * gradients,
        f"learner.checkpoint_every={every}", f"learner.gradients_per_step={gradients}",
    )  # fmt: skip
    assert kill_everywhere(template, tmp_path, act) > 25
    assert [name for name in finish(template)[0] if name.endswith("from-000003.delta")]


@pytest.mark.parametrize("every", [2, 8])
def test_a_start_killed_at_any_operation_after_a_killed_step(make_template, tmp_path, every):
    """The step dies between its last rename and its transaction: all its files are strays. The
    start takes the steps since the checkpoint again."""
    broken = make_template(5, f"learner.checkpoint_every={every}")
    assert dies(broken, 1, transaction_of_step(4, Steps, "commit"))
    assert (broken / "weights" / "v000004").exists()
    assert (broken / "optimizer" / "v000002").exists() == (every == 2)

    def start(root, killer):
        learner = learner_of(root)
        killer.armed = True
        learner.open()
        killer.armed = False

    assert kill_everywhere(broken, tmp_path, start) > 15


def test_a_start_that_makes_a_checkpoint_killed_at_any_operation(make_template, tmp_path):
    """The checkpoint was due when the learner died, so the start makes it."""
    broken = make_template(4, "learner.checkpoint_every=3")
    assert dies(broken, 1, transaction_of_step(3, Versions, "rebase"))
    assert (broken / "optimizer" / "v000003").exists()

    def start(root, killer):
        learner = learner_of(root)
        killer.armed = True
        learner.open()
        learner.settle()
        killer.armed = False

    assert kill_everywhere(broken, tmp_path, start) > 15


def test_the_first_publication_killed_at_any_operation(server, tmp_path):
    run = server("trainer.batch_trees=1")

    def start(root, killer):
        killer.armed = True
        learner_of(root).open()
        killer.armed = False

    assert kill_everywhere(run.directory.root, tmp_path, start) > 10


def test_a_gradient_left_out_is_consumed_once_wherever_the_kill(template, tmp_path, monkeypatch):
    def leave_out(root, killer):
        learner = learner_of(root)
        learner.open()
        learner.aggregator.weigh = lambda gradients, version: [0.0]
        killer.armed = True
        learner.step(learner.due())
        killer.armed = False

    seen = set()
    for number in itertools.count(1):
        root = tmp_path / f"killed-{number}"
        shutil.copytree(template, root)
        died = dies(root, number, leave_out)
        files, gradients, steps = finish(root)
        states = [state for _, state in gradients]
        assert states in (["applied"] * 4, ["left_out"] + ["applied"] * 3)
        assert len(steps) == states.count("applied")
        assert not [name for name in files if name.startswith("gradients")]
        with sqlite3.connect(root / "state.db") as database:
            kept = {f"samples/{blob}" for (blob,) in database.execute("SELECT blob FROM trees")}
        assert kept == {name for name in files if name.startswith("samples")}
        assert 0 < len(kept) < 4
        seen.add(states[0])
        shutil.rmtree(root)
        if not died:
            break
    assert seen == {"applied", "left_out"}
