"""Every call of the store, made on it and on the model; what they return must agree.

A call that dies leaves the model as it was.
"""

import numpy as np
import pytest
from evaluation_calls import EvaluationCalls
from store_model import COMMITTED, LEASE_SECONDS, Model, Thing

from ralo_core import PROMPT, TreeBuilder, wire
from ralo_core.data import GradientUpload, WeightVersion
from ralo_server.store.leases import NotTheOwner
from ralo_server.store.steps.step_log import StepLog
from ralo_server.store.uploads import Limits
from ralo_server.store.values import total
from ralo_server.store.weights.versions import Origin

PROBLEMS, CAPACITY, BATCH, STEP_GRADIENTS = 12, 6, 2, 2
LIMITS = Limits(receiving=2, pending=3)
TOKENS, LEAVES = 4, 2
KEEP_LAST, KEEP_AT_MOST = 2, 3
KEEP = (f"rollouts.keep_last={KEEP_LAST}", "rollouts.keep_every=1", "rollouts.keep_per_step=1",
        f"rollouts.keep_at_most={KEEP_AT_MOST}")  # fmt: skip


def redo(step, applied):
    """Return what a step did that applied these gradients."""
    weighted = [(gradient.path, gradient.info.weight) for gradient in applied]
    return StepLog(step=step, weighted_gradients=weighted, learning_rate=0.01, clip=1.0)


class CheckedStore(EvaluationCalls):
    """The run in `folder` and its model."""

    def __init__(self, folder, config):
        self.model = Model()
        super().__init__(folder, config, lambda: self.model.now)
        with self.store.database.write() as connection:
            self.store.versions.add(connection, version(0), 0)
            self.store.evaluations.schedule(connection, 0, ["held_out"])
        self.model.schedule(0, ["held_out"])

    def restart(self, config, max_steps):
        """Go on with the same directory under another limit."""
        self.model.max_steps = max_steps
        self.open(config)
        self.store.run.reopen()
        stops = self.model.stop_requested and self.model.state != "finished"
        if self.model.state != "running" and not stops and not self.model.steps_done():
            self.model.state, self.model.stop_requested = "running", False

    def expire(self):
        if self.survives(self.store.expiry.expire)[0]:
            self.model.expire()
            self.model.abandon_uploads()

    def lease_problems(self, worker, amount, key):
        model = self.model
        alive, granted = self.survives(
            lambda: self.store.problems.lease(worker, amount, self.source, key)
        )
        if not alive:
            return []
        again = model.granted(model.problems, worker, key)
        if again:
            assert [(problem["id"], lease) for problem, lease, _ in granted] == [
                (problem.id, problem.lease) for problem in again
            ]
            return [problem.lease for problem in again]
        out = [problem for problem in model.problems if problem.state == "leased"]
        amount = min(amount, max(0, CAPACITY - len(model.trees_in("queued")) - len(out)))
        waiting = [problem for problem in model.problems if problem.state == "waiting"]
        self.draw(amount - len(waiting))
        waiting = [problem for problem in model.problems if problem.state == "waiting"][:amount]
        assert [problem["id"] for problem, _, _ in granted] == [problem.id for problem in waiting]
        for problem, (_, lease, expires) in zip(waiting, granted, strict=True):
            assert expires == model.now + LEASE_SECONDS
            problem.grant(lease, worker, expires, key)
        model.leases.extend(lease for _, lease, _ in granted)
        return [lease for _, lease, _ in granted]

    def draw(self, short):
        model = self.model
        drawn = 0 if model.exhausted else max(0, min(short, PROBLEMS - len(model.problems)))
        for _ in range(drawn):
            model.problems.append(Thing(f"arithmetic-{len(model.problems)}"))
        model.count("problems_issued", drawn)
        model.exhausted |= short > drawn

    def upload_tree(self, lease, behind=0, rewards=(1.0, 0.0)):
        made_by = max(0, self.model.version - behind)
        sample = tree(lease, made_by, rewards)
        alive, outcome = self.survives(
            lambda: self.store.trees.add(lease, sample, wire.pack_tree(sample))
        )
        if not alive:
            return
        problem = next((p for p in self.model.problems if p.lease == lease), None)
        state = problem.state if problem else ""
        leased = "abandoned" if self.model.abandoned(made_by) else "stored"
        assert outcome == {"done": "duplicate", "leased": leased}.get(state, "lost")
        if outcome == "abandoned":
            self.model.release(lease, "returned")
        if outcome == "stored":
            problem.state = "done"
            self.model.made_by[lease] = made_by
            skipped = len(set(rewards)) == 1
            self.model.trees[lease] = ["skipped" if skipped else "queued", None]
            self.model.count("trees_skipped", int(skipped))
            self.model.count("tokens_decoded", TOKENS)
            self.model.count("rollouts_sampled", LEAVES)

    def lease_batch(self, worker, partial, key):
        model = self.model
        alive, batch = self.survives(lambda: self.store.batches.lease(worker, BATCH, partial, key))
        if not alive:
            return None
        again = model.granted(model.batches, worker, key)
        if again:
            assert batch.id == again[0].id
            return batch.id
        queued = model.trees_in("queued")[:BATCH]
        if len(queued) < (1 if partial else BATCH):
            assert batch is None
            return None
        assert [wire.unpack_tree(body).lease_id for body in batch.bodies] == queued
        model.batches.append(Thing(batch.id))
        model.batches[-1].grant(batch.id, worker, model.now + LEASE_SECONDS, key)
        model.trees.update({lease: ["leased", batch.id] for lease in queued})
        return batch.id

    def upload_tree_too_late(self, lease, rewards):
        """The lease ends between the first look and the transaction that stores the tree."""
        self.doomed = False
        self.model.now += 2 * LEASE_SECONDS
        self.meanwhile = self.expire
        self.upload_tree(lease, rewards=rewards)
        self.meanwhile = None

    def declare(self, batch_id, name, behind=0):
        model, base = self.model, max(0, self.model.version - behind)
        upload = gradient(f"{batch_id}-{name}", batch_id, base)
        alive, outcome = self.survives(lambda: self.store.uploads.declare(upload, LIMITS))
        if not alive:
            return None
        known = model.uploads.get(upload.upload_id)
        if known:
            expected = "lost" if known[0] in ("abandoned", "discarded") else "declared"
        elif model.batch(batch_id).state != "leased":
            expected = "lost"
        elif len(model.uploads_in("pending", "receiving")) >= LIMITS.pending:
            expected = "full"
        elif len(model.uploads_in("receiving")) >= LIMITS.receiving:
            expected = "busy"
        else:
            expected = "declared"
            model.uploads[upload.upload_id] = ["receiving", batch_id]
            model.made_by[upload.upload_id] = base
        assert outcome == expected
        return upload.upload_id if outcome == "declared" else None

    def commit_gradient(self, upload_id):
        alive, outcome = self.survives(lambda: self.store.uploads.commit(upload_id, 1.0))
        if not alive:
            return
        entry = self.model.uploads[upload_id]
        batch = self.model.batch(entry[1])
        alive = entry[0] == "receiving" and batch.state == "leased"
        receives = alive and not self.model.abandoned(self.model.made_by[upload_id])
        assert outcome == (
            "stored" if receives else "duplicate" if entry[0] in COMMITTED else "lost"
        )
        if receives:
            entry[0] = "pending"
            self.model.close_batch(batch, "done", "trained")
        elif alive:
            self.model.take_back(batch)

    def refuse_gradient(self, upload_id):
        alive, refused = self.survives(lambda: self.store.uploads.refuse(upload_id, "norm", "test"))
        if alive:
            entry = self.model.uploads[upload_id]
            assert refused == (entry[0] == "receiving")
            entry[0] = "refused" if refused else entry[0]
            self.model.count("gradients_refused_norm", int(refused))

    def release(self, lease, worker, outcome):
        held = self.model.holder(lease)
        action = lambda: self.store.leases.release(worker, [lease], outcome, "test")  # noqa: E731
        if held is not None and held.owner != worker:
            with pytest.raises(NotTheOwner):
                self.survives(action)
            return
        alive, ended = self.survives(action)
        if alive:
            assert ended == self.model.release(lease, outcome)

    def renew(self, lease, worker, beat):
        held, store = self.model.holder(lease), self.store
        mine = held is not None and held.owner == worker
        if held is not None and not mine and not beat:
            return  # refused, as in `release`
        if beat and not self.survives(lambda: store.workers.register(worker, "sampler", {}))[0]:
            return
        alive, answer = self.survives(
            (lambda: self.store.workers.heard(worker, {}, [lease])) if beat
            else (lambda: self.store.leases.renew(worker, [lease])[1])
        )  # fmt: skip
        if alive and mine:
            held.expires = self.model.now + LEASE_SECONDS
        assert answer == (None if not alive else [] if mine else [lease])

    def take_a_step(self, leave_out, evaluate):
        store, model = self.store, self.model
        pending = store.gradients.pending()[:STEP_GRADIENTS]
        assert [g.info.upload_id for g in pending] == model.uploads_in("pending")[:STEP_GRADIENTS]
        if not pending:
            return
        applied, left = (pending[:1], pending[1:]) if leave_out else (pending, [])
        others, step = (
            [*store.batches.empty(), *store.gradients.left_out_batches()],
            model.steps + 1,
        )
        skipped, counted = store.trees.skipped(), model.trees_in("skipped")
        assert len(skipped) == len(counted)
        alive, _ = self.survives(
            lambda: store.steps.commit(
                redo(step, applied), version(model.version + 1), applied, left, others, skipped,
                {"tokens": 5, "rollouts": 2}, evaluate,
            )
        )  # fmt: skip
        if alive:
            self.count_step(applied, left, evaluate)
            model.trees.update({lease: ["deleted", None] for lease in counted})

    def delete_trained(self):
        # The blobs go first: a row without one is deleted the next time.
        if self.survives(self.store.trees.delete_trained)[0]:
            model = self.model
            trained = [
                (lease, model.batch(of).step)
                for lease, (state, of) in model.trees.items()
                if state == "trained" and model.batch(of).step
            ]
            every = min(n for n in (1, 2, 4, 8, 16, 32) if model.steps // n <= KEEP_AT_MOST)
            first = {step: lease for lease, step in reversed(trained)}
            kept = {lease for lease, _ in trained[-KEEP_LAST:]}
            kept |= {lease for step, lease in first.items() if step % every == 0}
            for lease, _ in trained:
                if lease not in kept:
                    model.trees[lease][0] = "deleted"

    def count_step(self, applied, left_out, evaluate):
        model = self.model
        model.steps, model.version = model.steps + 1, model.version + 1
        for gradients, state in ((applied, "applied"), (left_out, "left_out")):
            for taken in gradients:
                model.uploads[taken.info.upload_id][0] = state
                model.batch(taken.batch_id).step = model.steps
        for batch in model.batches:
            if batch.state == "empty" and batch.step is None:
                batch.step = model.steps
        model.count("tokens_trained", 5)
        model.count("rollouts_trained", 2)
        model.schedule(model.version, evaluate)

    def roll_back(self, target, evaluate):
        number = self.model.version + 1
        origin = Origin(checkpoint="step-x")
        alive, discarded = self.survives(
            lambda: self.store.rollbacks.commit(version(number), target, origin, evaluate)
        )
        if not alive:
            return
        before = {name for name, (state, _) in self.model.trees.items() if state == "discarded"}
        self.model.roll_back(target, evaluate)
        after = {name for name, (state, _) in self.model.trees.items() if state == "discarded"}
        assert {blob.name.split(".")[0] for blob in discarded.trees} == after - before
        for blob in (*discarded.gradients, *discarded.trees):
            blob.unlink()

    def stop(self):
        if self.survives(self.store.run.request_stop)[0]:
            self.model.stop_requested = True
            if self.model.state == "running":
                self.model.state = "draining"

    def advance(self):
        self.expire()  # as the learner does, before it asks what state the run is in
        alive, state = self.survives(self.store.run.advance)
        if alive:
            self.model.advance()
            assert state == self.model.state

    def check_tables(self):
        model, database = self.model, self.store.database
        assert self.store.run.current() == model.state
        assert self.store.run.step() == model.steps
        assert self.store.versions.newest_number() == model.version
        for name, amount in model.counted.items():
            assert total(database, name) == amount, name
        for table, things, extra in (
            ("problems", model.problems, "attempts"),
            ("batches", model.batches, "step"),
            ("evaluation_shards", model.evaluations, "NULL"),
        ):
            rows = database.rows(f"SELECT id, state, worker_id, expires, {extra} FROM {table}")
            assert {row[0]: held(*row) for row in rows} == {
                t.id: held(t.id, t.state, t.owner, t.expires, getattr(t, extra, None))
                for t in things
            }, table
        states = database.rows("SELECT version, benchmark, state FROM evaluations")
        assert {(row[0], row[1]): row[2] for row in states} == model.asked
        trees = database.rows("SELECT lease_id, state, batch_id FROM trees ORDER BY number")
        assert [tuple(row) for row in trees] == [
            (lease, *entry) for lease, entry in model.trees.items() if entry[0] != "deleted"
        ]
        uploads = database.rows("SELECT upload_id, state, batch_id FROM gradients ORDER BY number")
        assert [tuple(row) for row in uploads] == [
            (upload, *entry) for upload, entry in model.uploads.items()
        ]

    def check_what_was_acknowledged(self):
        model = self.model
        files = {path.name.split(".")[0] for path in self.store.trees.folder.iterdir()}
        assert files.isdisjoint(model.trees_in("skipped"))
        queued = "SELECT blob FROM trees WHERE state IN ('queued', 'leased')"
        for row in self.store.database.rows(queued):
            assert (self.store.trees.folder / row["blob"]).is_file()
        for batch in model.batches:
            gradients = [u for u in model.uploads_in(*COMMITTED) if model.uploads[u][1] == batch.id]
            assert len(gradients) == (batch.state == "done")
            assert (batch.step is not None) == any(
                model.uploads[u][0] != "pending" for u in gradients
            ) or batch.state == "empty"
        for row in self.store.database.rows(_RESPONSES):
            version, benchmark, report, shards, responses = row
            result = self.model.asked[version, benchmark] == "reported"
            assert (report is not None) == result, "a result is there when all responses are"
            assert not (result and responses), "the file has the responses then"
            assert result or responses < shards
        leases = [thing.lease for thing in model.leased()]
        assert len(set(leases)) == len(leases)


def held(name, state, owner, expires, extra):
    """Owner and expiry count while a lease holds; afterwards they are history."""
    return (state, extra) if state != "leased" else (state, extra, owner, expires)


_RESPONSES = """SELECT e.version, e.benchmark, e.report, COUNT(*), COUNT(s.responses)
    FROM evaluations e JOIN evaluation_shards s ON s.evaluation = e.id GROUP BY e.id"""


def version(number):
    return WeightVersion(number=number, parent=None, sha256="", files=(), created=0.0)


def tree(lease, made_by, rewards):
    builder = TreeBuilder("p", [1], lease_id=lease)
    for _ in range(LEAVES):
        builder.add_leaf(
            builder.add_segment(PROMPT, [5] * (TOKENS // LEAVES), [-1.0, -1.0], made_by), "eos"
        )
    return builder.build().with_rewards({}, np.asarray(rewards, np.float32))


def gradient(upload_id, batch_id, base):
    return GradientUpload(
        upload_id=upload_id, batch_id=batch_id, worker_id="w1", base_version=base, weight=1.0,
        codec="none", size=4, chunk_bytes=4, chunk_digests=("x",), metrics={},
    )  # fmt: skip
