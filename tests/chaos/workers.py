"""Samplers and trainers without a model: they lease, make up what they owe, send it, write down.

They know the orchestrator through `Client` alone and
go through the proxy. What is about to be sent is written before, what was answered behind.
"""

import logging
import random
import threading
import time
import uuid
from pathlib import Path

from chaos.content import CHUNK_BYTES, make_gradient, make_tree, weight_of
from chaos.journal import Journal
from ralo_core.client import Backoff, Client, WholeBody
from ralo_core.data import ItemResponses
from ralo_core.errors import RunOver, ServerError
from ralo_core.messages.workers import WorkerReport

_FAST = Backoff(first=0.02, factor=2.0, cap=0.5)
_LATE_SHARE, _GIVEN_BACK_SHARE, _TWICE_SHARE = 0.05, 0.08, 0.15


class Worker:
    """A worker of `role` with the name `name`; `journal` is the path of its file."""

    def __init__(self, role, name, url, journal):
        self.name, self.role = name, role
        self.client = Client(url, name, backoff=_FAST)
        self.client.chunk_bytes = CHUNK_BYTES
        self.journal = Journal(Path(journal))
        self.dice = random.Random(name)
        self.lease_seconds = 0.0

    def run(self):
        """Work until the run is over."""
        try:
            self._join()
            while True:
                self.work()
        except RunOver:
            self.journal.write("over", worker=self.name)

    def _join(self):
        plugins = self.client.config().plugins
        answer = self.client.register(self.role, plugins, host="here", pid=0)
        self.lease_seconds = answer.lease_seconds
        threading.Thread(target=self._beat, args=(answer.heartbeat_seconds,), daemon=True).start()
        while self.client.version(-1, wait=1.0) is None:
            pass  # as real workers wait for the first weights

    def _beat(self, seconds):
        while True:
            time.sleep(seconds)
            try:
                self.client.heartbeat(
                    WorkerReport(version=0, tokens=0, working_seconds=0.0, waiting_seconds=0.0)
                )
            except RunOver:
                return

    def chance(self, share):
        """Say yes now and then."""
        return self.dice.random() < share

    def acknowledged(self, kind, send, **facts):
        """Call `send`, write down what was answered, and sometimes call it again."""
        self.journal.write(f"{kind} sent", **facts)
        for _ in range(1 + self.chance(_TWICE_SHARE)):
            try:
                answer = send()
            except ServerError as error:
                self.journal.write(f"{kind} refused", why=str(error), **facts)
                _check_lost(error)
                return
            self.journal.write(f"{kind} accepted", duplicate=answer.duplicate, **facts)


class Sampler(Worker):
    """Uploads a tree for each leased problem, and evaluates."""

    def work(self):
        for leased in self.client.problems(3, wait=1.0) or ():
            if self.chance(_GIVEN_BACK_SHARE):
                outcome = self.dice.choice(["returned", "returned", "failed"])
                self.client.release([leased.lease_id], outcome, "chaos")
                continue
            if self.chance(_LATE_SHARE):
                time.sleep(self.lease_seconds / 2)
            tree = make_tree(leased.problem.id, leased.lease_id, 0)
            self.acknowledged(
                "tree", lambda tree=tree: self.client.upload_tree(tree), lease=leased.lease_id,
                problem=leased.problem.id, tokens=len(tree.tokens), leaves=len(tree.leaves),
            )  # fmt: skip
        job = self.client.eval_job()
        if job is not None:
            responses = [
                ItemResponses(
                    texts=("",), correct=(self.chance(0.5),), tokens=(1,), finish_reasons=("eos",)
                )
                for _ in job.problems
            ]
            try:
                self.client.report_eval(job, responses)
            except ServerError as error:
                _check_lost(error)


class Trainer(Worker):
    """Uploads a gradient for each leased batch, or answers that there is none."""

    def work(self):
        batch = self.client.batch(wait=1.0)
        if batch is None:
            return
        leases = [tree.lease_id for tree in batch.trees]
        self.journal.write("batch", batch=batch.id, leases=leases)
        if self.chance(_GIVEN_BACK_SHARE):
            outcome = self.dice.choice(["returned", "empty"])
            self.client.release([batch.id], outcome, "chaos")
            return
        upload_id = uuid.uuid4().hex
        self.acknowledged(
            "gradient", lambda: self._upload(upload_id, batch.id, leases), upload=upload_id,
            batch=batch.id, leases=leases,
        )  # fmt: skip

    def _upload(self, upload_id, batch_id, leases):
        tensors = make_gradient(upload_id, leases)
        return self.client.send_gradient(
            WholeBody({"codec": "none"}, tensors, self.client.transport),
            upload_id=upload_id, batch_id=batch_id,
            base_version=0, weight=weight_of(leases), codec="none", metrics={"loss": 1.0},
        )  # fmt: skip


def _check_lost(error):
    """Let a lost lease pass; whatever else was refused is a fault of the test or the server."""
    if error.status != 409:
        raise error


def work(role, name, url, journal):
    """Be a worker; the entry point of its process."""
    logging.disable(logging.WARNING)  # that the server does not answer is what this is about
    {"sampler": Sampler, "trainer": Trainer}[role](role, name, url, journal).run()
