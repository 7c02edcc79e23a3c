"""The store against a model of it in plain Python: random interleavings of all that can happen.

The rules are what web processes, learner and ``ralo rollback`` do: lease, renew, upload, commit,
release, go back, also late, twice, or with the process killed before the transaction's end.
Answers are compared in `store_calls`, and after every rule the tables must be what `store_model`
says.
"""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store_calls import BATCH, CAPACITY, KEEP, PROBLEMS, CheckedStore
from store_model import BENCHMARKS, LEASE_SECONDS

from ralo_core import BenchmarkSettings, Problem
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.database import Database
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.evaluation.evaluations import use_benchmarks

WORKERS, KEYS = st.sampled_from(["w1", "w2"]), st.sampled_from([None, "k1", "k2"])
BEHIND = st.sampled_from([0, 0, 1, 2])
REWARDS = st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
ASKED = st.sampled_from([[], ["held_out"], ["quiz"], ["held_out", "quiz"]])
AMOUNTS, OUTCOMES = st.integers(1, 4), st.sampled_from(["returned", "failed", "empty"])


ENDS = st.sampled_from(["gradient", "gradient", "empty", "failed"])


def recent(things):
    """Old ones were all refused for the same reasons."""
    return st.sampled_from(things[-6:])


def some(name):
    """A rule that needs one of the model's things is not tried without."""
    return precondition(lambda self: getattr(self.model, name))


class StoreMachine(RuleBasedStateMachine):
    """`template` is a prepared run directory, `configs` are its configs by ``run.max_steps``."""

    template, configs = Path(), {}

    @initialize()
    def a_new_run(self):
        self.folder = Path(tempfile.mkdtemp(prefix="store-machine-"))
        shutil.copytree(self.template, self.folder / "run")
        self.run = CheckedStore(self.folder / "run", self.configs[0])
        self.model = self.run.model

    @rule()
    def the_process_dies_in_its_next_transaction(self):
        self.run.doomed = True

    @rule(max_steps=st.sampled_from([0, 0, 1, 3]))
    def restart(self, max_steps):
        self.run.restart(self.configs[max_steps], max_steps)

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def time_passes(self, seconds):
        self.model.now += seconds

    @rule()
    def expire(self):
        self.run.expire()

    @rule(worker=WORKERS, amount=AMOUNTS, key=KEYS)
    def lease_problems(self, worker, amount, key):
        self.run.lease_problems(worker, amount, key)

    @rule(worker=WORKERS, amount=AMOUNTS)
    def sample(self, worker, amount):
        for lease in self.run.lease_problems(worker, amount, None):
            self.run.upload_tree(lease)

    @rule(worker=WORKERS, amount=AMOUNTS, times=st.integers(1, 3))
    def lose_problems(self, worker, amount, times):
        for _ in range(times):
            self.run.lease_problems(worker, amount, None)
            self.model.now += 2 * LEASE_SECONDS
            self.run.expire()

    @rule(data=st.data(), behind=BEHIND, rewards=REWARDS)
    @some("leases")
    def upload_tree(self, data, behind, rewards):
        self.run.upload_tree(data.draw(recent(self.model.leases)), behind, rewards)

    @rule(worker=WORKERS, data=st.data(), rewards=REWARDS)
    def upload_tree_too_late(self, worker, data, rewards):
        leases = self.run.lease_problems(worker, 2, None)
        if leases:
            self.run.upload_tree_too_late(data.draw(st.sampled_from(leases)), rewards)

    @rule(worker=WORKERS, partial=st.booleans(), key=KEYS)
    def lease_batch(self, worker, partial, key):
        self.run.lease_batch(worker, partial, key)

    @rule(worker=WORKERS, leave_out=st.booleans(), ends=ENDS)
    def work_for_a_step(self, worker, leave_out, ends):
        self.sample(worker, 4)
        self.train(worker, "gradient")
        self.train(worker, ends)
        self.run.take_a_step(leave_out, [])

    @rule(worker=WORKERS, ends=ENDS)
    def train(self, worker, ends):
        batch_id = self.run.lease_batch(worker, True, None)
        if batch_id and ends != "gradient":
            self.run.release(batch_id, worker, ends)
            return
        upload_id = batch_id and self.run.declare(batch_id, "g1")
        if upload_id:
            self.run.commit_gradient(upload_id)

    @rule(worker=WORKERS, swept=st.booleans())
    def train_too_slowly(self, worker, swept):
        batch_id = self.run.lease_batch(worker, True, None)
        upload_id = batch_id and self.run.declare(batch_id, "g1")
        self.model.now += 2 * LEASE_SECONDS
        if swept:
            self.run.expire()
        else:
            self.run.advance()
        if upload_id:
            self.run.commit_gradient(upload_id)

    @rule(data=st.data(), name=st.sampled_from(["g1", "g2"]), behind=BEHIND)
    @some("batches")
    def declare(self, data, name, behind):
        self.run.declare(data.draw(recent(self.model.batches)).id, name, behind)

    @rule(data=st.data())
    @some("uploads")
    def commit_gradient(self, data):
        self.run.commit_gradient(data.draw(recent(list(self.model.uploads))))

    @rule(data=st.data())
    @some("uploads")
    def refuse_gradient(self, data):
        self.run.refuse_gradient(data.draw(recent(list(self.model.uploads))))

    @rule(data=st.data(), worker=WORKERS, outcome=OUTCOMES)
    @some("leases")
    def release(self, data, worker, outcome):
        self.run.release(data.draw(self.any_lease()), worker, outcome)

    @rule(data=st.data(), worker=WORKERS, beat=st.booleans())
    @some("leases")
    def renew(self, data, worker, beat):
        self.run.renew(data.draw(self.any_lease()), worker, beat)

    def any_lease(self):
        batches = [batch.id for batch in self.model.batches]
        evaluations = [job.lease for job in self.model.evaluations if job.lease]
        kinds = [self.model.leases, batches, evaluations]
        return st.one_of(*(recent(leases) for leases in kinds if leases))

    @rule(leave_out=st.booleans(), evaluate=ASKED)
    def take_a_step(self, leave_out, evaluate):
        self.run.take_a_step(leave_out, evaluate)

    @rule(data=st.data(), evaluate=ASKED)
    @some("version")
    def roll_back(self, data, evaluate):
        self.run.roll_back(data.draw(st.integers(0, self.model.version - 1)), evaluate)

    @rule(worker=WORKERS, behind=BEHIND, steps_back=st.integers(1, 2))
    def work_behind_a_rollback(self, worker, behind, steps_back):
        """Trees wait, and a gradient too, some of them by versions that are then abandoned."""
        self.work_for_a_step(worker, False, "gradient")
        self.sample(worker, 4)
        batch_id = self.run.lease_batch(worker, True, None)
        upload_id = batch_id and self.run.declare(batch_id, "g1", behind)
        if upload_id:
            self.run.commit_gradient(upload_id)
        if self.model.version:
            self.run.roll_back(max(0, self.model.version - steps_back), [])

    @rule()
    def delete_trained(self):
        self.run.delete_trained()

    @rule(worker=WORKERS, key=KEYS, data=st.data())
    @some("evaluations")
    def claim_evaluation(self, worker, key, data):
        version = data.draw(st.sampled_from([None, None, *range(self.model.version + 1)]))
        self.run.claim_evaluation(worker, key, version)

    @rule(worker=WORKERS, amount=AMOUNTS)
    @some("evaluations")
    def evaluate(self, worker, amount):
        for _ in range(amount):
            shard = self.run.claim_evaluation(worker, None)
            if shard:
                self.run.report_evaluation(shard, False)

    @rule(benchmarks=st.lists(st.sampled_from(["held_out", "quiz", "quiz", "none"]), max_size=3),
          data=st.data())  # fmt: skip
    def request_evaluation(self, benchmarks, data):
        version = data.draw(st.sampled_from([None, *range(self.model.version + 1)]))
        self.run.request_evaluation(benchmarks, version)

    @rule(keep_last=st.integers(1, 3))
    def prune(self, keep_last):
        self.run.prune(keep_last)

    @rule(data=st.data(), late=st.booleans())
    @some("evaluations")
    def report_evaluation(self, data, late):
        self.run.report_evaluation(data.draw(recent(self.model.evaluations)), late)

    @rule()
    def stop(self):
        self.run.stop()

    @rule()
    def advance(self):
        self.run.advance()

    @invariant()
    def the_store_is_what_the_model_says(self):
        if hasattr(self, "run"):
            self.run.check_tables()
            self.run.check_what_was_acknowledged()

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


def ask_in_shards(benchmarks):
    """Let the benchmarks have as many shards as `BENCHMARKS` says."""
    plan = Plan(grader="arithmetic", settings=BenchmarkSettings(shard_items=1))
    benchmarks.draw("quiz", [Problem(id="q", prompt="?", answer="!")])
    use_benchmarks(benchmarks.database, dict.fromkeys(BENCHMARKS, plan))
    assert {name: benchmarks.size(name) for name in BENCHMARKS} == BENCHMARKS


@pytest.mark.slow
def test_random_interleavings_keep_the_store_what_the_model_says(tmp_path, model):
    fixed = (
        f"run.model={model}", f"problems.arithmetic.count={PROBLEMS}", "evaluation.problems=2",
        f"server.queued_trees={CAPACITY}", f"trainer.batch_trees={BATCH}",
        f"server.lease_seconds={LEASE_SECONDS}", "trainer.dynamic_sampling=total",
        *KEEP,
    )  # fmt: skip
    registry = Registry(PluginHost().load())
    configs = {
        steps: resolve([set_layer([*fixed, f"run.max_steps={steps}"])], registry)
        for steps in (0, 1, 3)
    }
    prepare(RunDirectory(tmp_path / "template"), configs[0], "test")
    ask_in_shards(Benchmarks(Database(tmp_path / "template" / "state.db")))
    found = {"template": tmp_path / "template", "configs": configs}
    run_state_machine_as_test(
        type("Machine", (StoreMachine,), found),
        settings=settings(
            max_examples=400, stateful_step_count=60, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
