"""Trackers that fail, hang or are killed: the learner continues, every record arrives, in order."""

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import attrs
import pytest
from patience import PATIENCE
from test_step_kills import dies, learner_of
from wandb_file import history

from ralo_server.learner.tracking import delivery as module
from ralo_server.learner.tracking.delivery import Delivery
from ralo_server.store.database import Database
from ralo_server.store.records import Records
from ralo_server.store.schema import MIGRATIONS


class Fickle:
    """A tracker that raises while `broken`, and remembers what it took."""

    def __init__(self, settle_seconds=None):
        self.broken, self.taken, self.closed = False, [], False
        if settle_seconds is not None:
            self.settle_seconds = settle_seconds

    def log(self, step, metrics):
        if self.broken:
            raise ConnectionError("no route to host")
        self.taken.append((step, metrics["reward"]))

    def close(self):
        self.closed = True


class Hanging(Fickle):
    """A tracker whose calls do not come back before `free` is set."""

    def __init__(self):
        super().__init__()
        self.free, self.called = threading.Event(), threading.Event()

    def log(self, step, metrics):
        self.called.set()
        self.free.wait(PATIENCE)
        super().log(step, metrics)


@pytest.fixture
def store(server):
    """The store of a run in which `add_step` commits metrics without taking steps."""
    return server().store


def add_step(store, step):
    with store.database.write() as connection:
        connection.execute(
            "INSERT INTO steps (step, metrics) VALUES (?, ?)",
            (step, json.dumps({"reward": step / 2})),
        )
    assert store.records.collect()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def deliver(store, monkeypatch):
    """Return a function that starts the delivery to a tracker called `t`."""
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.02)
    started = []

    def start(tracker):
        started.append(Delivery("t", tracker, store.records))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.close()
        each.join(PATIENCE)


def test_a_failure_is_said_once_and_everything_arrives_in_order(store, deliver, caplog):
    caplog.set_level(logging.INFO)
    tracker = Fickle()
    add_step(store, 1)
    delivery = deliver(tracker)
    wait_until(lambda: tracker.taken)
    tracker.broken = True
    for step in (2, 3):
        add_step(store, step)
        delivery.wake()
    wait_until(lambda: delivery.failing)
    time.sleep(0.2)  # several tries
    assert store.records.waiting("t") == 2
    assert store.records.position("t") == 1
    with store.database.write() as connection:
        connection.execute("UPDATE records SET time = time - 100 * (4 - number)")
    assert attrs.evolve(store.records, trackers=["t"]).behind()["t"] == {
        "waiting": 2, "seconds": pytest.approx(200, abs=20),
    }  # fmt: skip
    tracker.broken = False
    wait_until(lambda: store.records.waiting("t") == 0)
    assert tracker.taken == [(1, 0.5), (2, 1.0), (3, 1.5)]
    said = [record.message for record in caplog.records if "tracker t" in record.message]
    assert len(said) == 2
    assert "ConnectionError: no route to host; " in said[0]
    assert "takes records again" in said[1]


def test_what_is_not_safe_yet_is_given_again_after_a_failure_and_after_a_crash(store, deliver):
    tracker = Fickle(settle_seconds=60)
    add_step(store, 1)
    delivery = deliver(tracker)
    wait_until(lambda: tracker.taken)
    assert store.records.position("t") == 0, "a process that is killed now gives it again"
    tracker.broken = True
    add_step(store, 2)
    delivery.wake()
    wait_until(lambda: delivery.failing)
    tracker.broken = False
    wait_until(lambda: len(tracker.taken) == 3)
    assert [step for step, _ in tracker.taken] == [1, 1, 2]
    delivery.close()
    assert delivery.join(PATIENCE)
    assert tracker.closed
    assert store.records.position("t") == 2, "closed, it has everything"


def test_what_has_been_with_a_tracker_for_long_enough_is_marked(store, deliver):
    tracker = Fickle(settle_seconds=0.05)
    add_step(store, 1)
    deliver(tracker)
    wait_until(lambda: store.records.position("t") == 1)
    assert len(tracker.taken) == 1


def test_a_tracker_that_joins_late_is_told_everything(store, deliver):
    for step in (1, 2, 3):
        add_step(store, step)
    store.records.take("jsonl", 3)
    tracker = Fickle()
    deliver(tracker)
    wait_until(lambda: store.records.waiting("t") == 0)
    assert [step for step, _ in tracker.taken] == [1, 2, 3]


def test_a_tracker_that_hangs_holds_up_nobody(server, random_gradient, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    run = server("trainer.batch_trees=1", "evaluation.problems=0")
    learner, tracker = run.learner(), Hanging()
    hung = Delivery("hung", tracker, run.store.records)
    learner.trackers.deliveries.append(hung)
    for step in (1, 2, 3):
        run.fill(1)
        run.send_gradient(run.batch().id, random_gradient(step), f"g{step}")
        learner.step(learner.due())
        learner.trackers.tell()
    assert tracker.called.wait(PATIENCE)
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.0)
    for _ in range(3):
        learner.trackers.tell()
    assert not learner.trackers.close(seconds=0.5)
    assert [row["step"] for row in lines(run.directory.root)] == [1, 2, 3]
    assert (run.store.records.waiting("hung"), run.store.records.waiting("jsonl")) == (3, 0)
    said = [record.message for record in caplog.records if "tracker hung" in record.message]
    assert len(said) == 2
    assert "has not returned for" in said[0]
    assert "has not taken 3 records: it gets them at the next start" in said[1]
    tracker.free.set()
    assert hung.join(PATIENCE)
    assert [step for step, _ in tracker.taken] == [1, 2, 3]


def lines(root):
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def committed(server, random_gradient):
    """The directory of a run with three steps that no tracker was told of."""

    def make(*settings):
        run = server("trainer.batch_trees=1", "evaluation.problems=0", *settings)
        learner = run.learner()
        for step in (1, 2, 3):
            run.fill(1)
            run.send_gradient(run.batch().id, random_gradient(step), f"g{step}")
            learner.step(learner.due())
        learner.settle()
        return run.directory.root

    return make


def test_kill_9_anywhere_neither_loses_nor_doubles_a_line(committed, tmp_path):
    template = committed()

    def tell(root, killer):
        tracking = learner_of(root).trackers
        killer.armed = True
        tracking.records.collect()
        tracking.deliveries[0].deliver()
        killer.armed = False

    number, died = 0, True
    while died:
        number += 1
        root = tmp_path / f"killed-{number}"
        shutil.copytree(template, root)
        died = dies(root, number, tell)
        tracking = learner_of(root).trackers
        tracking.close()
        assert [row["step"] for row in lines(root)] == [1, 2, 3], f"killed before {number}"
    assert number > 8


TELLING = """
import sys
import time
from pathlib import Path
from ralo_core.components import BuildContext
from ralo_server.learner.tracking.trackers import Tracking
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store

directory = RunDirectory(Path(sys.argv[1]))
config, _ = directory.load_config(("trackers",))
tracking = Tracking(Store(directory, config), BuildContext(role="learner", run_dir=directory.root))
tracking.tell()
end = time.monotonic() + 300
while any(delivery._given < 3 for delivery in tracking.deliveries):
    assert time.monotonic() < end, "a tracker does not take what it is given"
    time.sleep(0.01)
print("told", flush=True)
sys.stdin.read()
tracking.close(30)
"""
"""What the learner does with its trackers, without the rest of it."""


def telling(root):
    process = subprocess.Popen(
        [sys.executable, "-c", TELLING, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"told\n"
    return process


def test_kill_9_loses_nothing_that_wandb_had_not_written_yet(committed):
    root = committed("trackers.pipeline=['wandb']", "trackers.wandb.mode=offline")
    process = telling(root)
    process.kill()  # wandb was told, and writes a few seconds later
    process.wait(PATIENCE)
    assert history(root) == []
    process = telling(root)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert [row["step"] for row in history(root)] == [1, 2, 3]
    assert [row["step"] for row in lines(root)] == [1, 2, 3]


def test_steps_that_were_tracked_before_there_was_a_line_are_not_told_again(tmp_path):
    """A run of an earlier release: its lines are written; a new tracker wants to hear of all."""
    (before,) = (i for i, script in enumerate(MIGRATIONS) if "CREATE TABLE records" in script)
    connection = sqlite3.connect(tmp_path / "state.db")
    for script in MIGRATIONS[:before]:
        connection.executescript(script)
    connection.executemany(
        "INSERT INTO steps (step, metrics, tracked) VALUES (?, ?, ?)",
        [(1, '{"reward": 1}', 1), (2, '{"reward": 2}', 1), (3, '{"reward": 3}', 0)],
    )
    connection.execute(f"PRAGMA user_version = {before}")
    connection.commit()
    connection.close()
    records = Records(Database(tmp_path / "state.db"), ["jsonl", "t"])
    assert records.collect()
    assert not records.collect()
    told = {name: records.after(records.position(name)) for name in ("jsonl", "t")}
    assert [record.step for record in told["jsonl"]] == [3]
    assert [record.metrics["reward"] for record in told["t"]] == [1, 2, 3]
    assert records.behind()["jsonl"]["waiting"] == 1
