"""The life of problems, trees, batches, gradients and evaluations in plain Python, without SQL.

`test_store_machine` holds the store to it. A lease that has run out holds until `expire` takes it
back, as in the store; what a worker does meanwhile still counts.
"""

import attrs

from ralo_server.store.problems import MAX_ATTEMPTS

BENCHMARKS = {"held_out": 2, "quiz": 1}
"""How many shards each has."""

LEASE_SECONDS = 10.0

COMMITTED = ("pending", "applied", "left_out")


@attrs.define
class Thing:
    """A problem, batch or evaluation: work that is leased."""

    id: str
    state: str = "waiting"
    lease: str | None = None
    owner: str | None = None
    expires: float = 0.0
    request: str | None = None
    attempts: int = 0
    step: int | None = None

    def grant(self, lease, owner, expires, request):
        self.state, self.lease, self.owner = "leased", lease, owner
        self.expires, self.request = expires, request
        self.attempts += 1


@attrs.define
class Model:
    """What must be true, without SQL."""

    now: float = 1000.0
    state: str = "running"
    stop_requested: bool = False
    max_steps: int = 0
    steps: int = 0
    version: int = 0
    rollbacks: list = attrs.field(factory=list)  # (target, version), as they were made
    exhausted: bool = False
    problems: list = attrs.field(factory=list)
    batches: list = attrs.field(factory=list)
    evaluations: list = attrs.field(factory=list)  # shards, in the order they were made
    asked: dict = attrs.field(factory=dict)  # (version, benchmark) -> state
    pruned: set = attrs.field(factory=set)  # versions
    leases: list = attrs.field(factory=list)  # of problems, as they were granted
    trees: dict = attrs.field(factory=dict)  # lease id -> [state, batch id], in order of arrival
    uploads: dict = attrs.field(factory=dict)  # upload id -> [state, batch id], as declared
    made_by: dict = attrs.field(factory=dict)  # lease id or upload id -> version of the weights
    counted: dict = attrs.field(factory=dict)

    def count(self, name, amount):
        self.counted[name] = self.counted.get(name, 0) + amount

    def leased(self):
        return [
            t for t in (*self.problems, *self.batches, *self.evaluations) if t.state == "leased"
        ]

    def holder(self, lease):
        return next((thing for thing in self.leased() if thing.lease == lease), None)

    def granted(self, things, worker, key):
        """Return what the same request was answered with, as far as it still holds."""
        return [
            thing for thing in things
            if thing.state == "leased" and key is not None
            and (thing.owner, thing.request) == (worker, key)
        ]  # fmt: skip

    def batch(self, batch_id):
        return next(batch for batch in self.batches if batch.id == batch_id)

    def trees_in(self, state, batch_id=None):
        return [
            lease for lease, (is_in, of) in self.trees.items()
            if is_in == state and batch_id in (None, of)
        ]  # fmt: skip

    def uploads_in(self, *states):
        return [upload for upload, (state, _) in self.uploads.items() if state in states]

    def close_batch(self, batch, state, trees):
        batch.state = state
        for lease in self.trees_in("leased", batch.id):
            self.trees[lease] = [trees, None if trees == "queued" else batch.id]
            if trees == "trained":
                self.count("trees_trained", 1)

    def take_back(self, thing):
        if thing in self.batches:
            self.close_batch(thing, "expired", "queued")
        elif thing in self.problems and thing.attempts >= MAX_ATTEMPTS:
            thing.state = "failed"
        else:
            thing.state = "waiting"

    def expire(self):
        for thing in self.leased():
            if thing.expires < self.now:
                self.take_back(thing)

    def abandon_uploads(self):
        for entry in self.uploads.values():
            if entry[0] == "receiving" and self.batch(entry[1]).state != "leased":
                entry[0] = "abandoned"

    def release(self, lease, outcome):
        thing = self.holder(lease)
        if thing is None or (outcome == "empty" and thing not in self.batches):
            return 0
        if outcome == "empty":
            self.close_batch(thing, "empty", "trained")
        elif outcome == "failed" and thing in self.batches:
            self.close_batch(thing, "failed", "failed")
        elif outcome == "failed" and thing in self.problems:
            thing.state = "failed"
        else:
            thing.attempts -= 1
            self.take_back(thing)
        return 1

    def abandoned(self, version):
        return any(target < version < made for target, made in self.rollbacks)

    def roll_back(self, target, evaluate):
        for thing in self.leased():
            thing.attempts -= 1
            self.take_back(thing)
        for upload in self.uploads_in("pending"):
            if self.made_by[upload] > target:
                self.discard_gradient(self.uploads[upload])
        for lease in self.trees_in("queued"):
            if self.made_by[lease] > target:
                self.discard_tree(lease)
        self.version += 1
        self.rollbacks.append((target, self.version))
        for version, benchmark in [key for key, state in self.asked.items() if state == "open"]:
            if target < version < self.version:
                del self.asked[version, benchmark]
                gone = self.shards(version, benchmark)
                self.evaluations = [shard for shard in self.evaluations if shard not in gone]
        self.schedule(self.version, evaluate)

    def discard_gradient(self, entry):
        entry[0], batch = "discarded", self.batch(entry[1])
        batch.state = "expired"
        for lease in self.trees_in("trained", batch.id):
            self.trees[lease] = ["queued", None]
            self.count("trees_trained", -1)

    def discard_tree(self, lease):
        self.trees[lease][0] = "discarded"
        problem = next(problem for problem in self.problems if problem.lease == lease)
        problem.state, problem.lease, problem.request = "waiting", None, None

    def steps_done(self):
        return bool(self.max_steps) and self.steps >= self.max_steps

    def following(self):
        idle = not any(p.state in ("waiting", "leased") for p in self.problems)
        outstanding = (
            any(problem.state == "leased" for problem in self.problems)
            or self.trees_in("queued") or self.trees_in("leased") or self.uploads_in("pending")
        )  # fmt: skip
        if self.state in ("running", "draining") and self.steps_done():
            return "evaluating"
        if self.state == "running" and self.exhausted and idle:
            return "draining"
        if self.state == "draining" and not outstanding:
            return "evaluating"
        if self.state == "evaluating" and "open" not in self.asked.values():
            return "finished"
        return self.state

    def advance(self):
        while (following := self.following()) != self.state:
            self.state = following
            if following == "evaluating":
                self.schedule(self.version, BENCHMARKS)

    def schedule(self, version, benchmarks):
        for name in benchmarks:
            if (version, name) not in self.asked:
                self.asked[version, name] = "open"
                shards = range(BENCHMARKS[name])
                self.evaluations += [Thing(f"eval-{version}-{name}-{n}") for n in shards]

    def shards(self, version, benchmark):
        return [s for s in self.evaluations if s.id.startswith(f"eval-{version}-{benchmark}-")]

    def prune(self, keep_last):
        """Return the versions that go: not the first, the last, nor those to be evaluated."""
        to_evaluate = {version for (version, _), state in self.asked.items() if state == "open"}
        old = set(range(1, self.version - keep_last + 1))
        gone = old - self.pruned - to_evaluate
        self.pruned |= gone
        return gone
