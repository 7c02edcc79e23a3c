"""A run directory with a model of two small tensors, its store, its web app, its learner."""

import json
from types import SimpleNamespace

import falcon.testing
import numpy as np
import pytest
import torch
from blake3 import blake3
from safetensors.torch import save_file

from ralo_core import PROMPT, TreeBuilder, wire
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.loop import Learner
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.web.app import make_app
from ralo_server.web.live.waiting import Waiting
from ralo_server.web.services import Services

SHAPES = {"a.weight": (3, 4), "b.bias": (5,)}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_file(
        {name: torch.randn(shape) for name, shape in SHAPES.items()}, folder / "m.safetensors"
    )
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def make_run(tmp_path, model):
    """Return a function that makes a run directory; its arguments are ``--set`` assignments."""

    def make(*settings, name="run"):
        registry = Registry(PluginHost().load())
        assignments = [f"run.model={model}", "learner.dtype=float32", *settings]
        config = resolve([set_layer(assignments)], registry)
        directory = RunDirectory(tmp_path / name)
        prepare(directory, config, "test")
        return directory

    return make


class Server:
    """The web app of a run and a learner in this process, driven step by step."""

    def __init__(self, directory, worker="w1"):
        self.directory = directory
        self.services = Services(directory, Waiting(places=8))
        self.store = self.services.store
        self.http = falcon.testing.TestClient(
            make_app(self.services), headers={"X-Ralo-Worker": worker}
        )

    def learner(self):
        learner = Learner(self.store, PluginHost())
        learner.open()
        return learner

    def take_steps(self, learner, gradients, count):
        """Take steps 1 to `count` of a run with a tree and a gradient in each."""
        for step in range(1, count + 1):
            self.fill(1)
            self.send_gradient(self.batch().id, gradients(step), f"g{step}")
            learner.step(learner.due())

    def lease(self, count=1, worker="w1"):
        answer = self.http.simulate_get(
            "/problem/get", params={"count": count}, headers={"X-Ralo-Worker": worker}
        )
        return answer.json["problems"] if answer.status_code == 200 else []

    def upload(self, leased, rewards=(1.0, 0.0), worker="w1"):
        tree = make_tree(leased["problem"]["id"], leased["lease_id"], rewards)
        return self.post_tree(wire.pack_tree(tree), leased["lease_id"], worker)

    def post_tree(self, body, key, worker="w1"):
        headers = {"Idempotency-Key": key, "X-Ralo-Worker": worker}
        return self.http.simulate_post("/upload", body=body, headers=headers)

    def fill(self, count):
        for leased in self.lease(count):
            assert self.upload(leased).status_code == 200

    def claim(self, worker="w1", key=None, **wish):
        """Lease a shard; None if there is none."""
        headers = {"X-Ralo-Worker": worker, **({"Idempotency-Key": key} if key else {})}
        body = {"worker_id": worker, **wish}
        answer = self.http.simulate_post("/eval/job/claim", json=body, headers=headers)
        return answer.json if answer.status_code == 200 else None

    def report(self, job, correct, worker="w1"):
        """Hand in a response of three tokens per item; `correct` has a truth per item, or a list of
        one per sample."""
        return self.http.simulate_post(
            "/eval/job/report",
            json=self.shard_report(job, correct),
            headers={"X-Ralo-Worker": worker},
        )

    @staticmethod
    def shard_report(job, correct):
        """Return the JSON of ``POST /eval/job/report``."""
        truths = [list(c) if isinstance(c, list | tuple) else [c] for c in correct]
        responses = [
            {
                "texts": ["yes" if truth else "no" for truth in row], "correct": row,
                "tokens": [3] * len(row), "finish_reasons": ["eos"] * len(row), "reason": "",
            }
            for row in truths
        ]  # fmt: skip
        return {"job_id": job["job_id"], "lease_id": job["lease_id"], "responses": responses}

    def evaluate(self, truth=True):
        """Report all there is to be evaluated, each alike."""
        while (job := self.claim()) is not None:
            samples = job["response_settings"]["samples"]
            self.report(job, [[truth] * samples] * len(job["problems"]))

    def open_versions(self):
        """Return the versions that have evaluations without a result."""
        query = "SELECT DISTINCT version FROM evaluations WHERE state = 'open'"
        return [row["version"] for row in self.store.database.rows(query)]

    def results(self, **chosen):
        return self.http.simulate_get("/eval/results", params=chosen).json["evaluations"]

    def batch(self):
        answer = self.http.simulate_get("/get")
        return wire.unpack_batch(answer.content) if answer.status_code == 200 else None

    def declare(self, batch_id, body, upload_id, chunk_bytes=None, **changes):
        declaration = self.declaration(
            batch_id, body, upload_id, chunk_bytes or len(body), **changes
        )
        return self.http.simulate_post("/gradient/declare", json=declaration)

    @staticmethod
    def declaration(batch_id, body, upload_id, chunk_bytes, **changes):
        """Return the JSON of ``POST /gradient/declare``."""
        starts = range(0, len(body), chunk_bytes)
        parts = [body[start : start + chunk_bytes] for start in starts]
        return {
            "upload_id": upload_id, "batch_id": batch_id, "worker_id": "w1", "base_version": 0,
            "weight": 4.0, "codec": "none", "size": len(body), "chunk_bytes": chunk_bytes,
            "chunk_digests": [blake3(part).hexdigest() for part in parts],
            "metrics": {"loss": 0.5}, **changes,
        }  # fmt: skip

    def send_chunk(self, upload_id, index, body):
        params = {"upload_id": upload_id, "index": index}
        return self.http.simulate_post("/gradient/upload_chunk", params=params, body=body)

    def finalize(self, upload_id):
        return self.http.simulate_post("/gradient/upload_finalize", json={"upload_id": upload_id})

    def send_gradient(self, batch_id, values, upload_id, **changes):
        """Go through a whole upload in one chunk; return the first answer that is no success."""
        body = wire.pack({"codec": "none"}, values)
        answer = self.declare(batch_id, body, upload_id, **changes)
        if answer.status_code == 200 and answer.json["missing"]:
            answer = self.send_chunk(upload_id, 0, body)
        return self.finalize(upload_id) if answer.status_code == 200 else answer


def make_tree(problem_id, lease_id, rewards=(1.0, 0.0)):
    builder = TreeBuilder(problem_id, [1, 2, 3], lease_id=lease_id)
    for index in range(len(rewards)):
        builder.add_leaf(builder.add_segment(PROMPT, [5, 6 + index], [-0.5, -1.0], 0), "eos")
    return builder.build().with_rewards({}, np.asarray(rewards, np.float32))


@pytest.fixture
def server(make_run):
    """Return a function that gives a `Server` over a fresh run directory."""

    def start(*settings, name="run"):
        started = Server(make_run(*settings, name=name))
        started.make_tree = make_tree
        return started

    return start


@pytest.fixture
def random_gradient():
    """Return a function seed -> flat float32 values of every parameter."""

    def make(seed):
        rng = np.random.default_rng(seed)
        return {
            name: rng.normal(size=int(np.prod(shape))).astype(np.float32)
            for name, shape in SHAPES.items()
        }

    return make


@pytest.fixture
def shapes():
    return SimpleNamespace(**{"all": SHAPES})


@pytest.fixture
def leased(server, random_gradient):
    """Return a function that gives a run with a learner, a leased batch and a gradient body."""

    def start(*settings):
        run = server("trainer.batch_trees=1", *settings)
        run.the_learner = run.learner()
        run.fill(1)
        return run, run.batch(), wire.pack({"codec": "none"}, random_gradient(0))

    return start
