"""A sampler's weights over a real orchestrator and cache: staged while work goes on, swapped in,
held for an evaluation. The engine counts steps; the versions have two small tensors."""

import asyncio
import subprocess
import sys
import uuid

import numpy as np
import pytest
import torch
from counted_engine import CountedEngine
from patience import PATIENCE
from safetensors.torch import save_file

from ralo_core import PROMPT, GenerationRequest, TreeBuilder
from ralo_core.client import Client, WholeBody
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.cli.serve import listen
from ralo_server.learner.loop import Learner
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_worker.membership import Activity
from ralo_worker.sampler.weight_sync import WeightSync
from ralo_worker.server_clock import ServerClock
from ralo_worker.weights.cache import WeightsCache

WEIGHT = {"w": np.ones((4, 5), np.float32)}
PAUSE = 0.25
"""What the counted engine says that a swap took."""


class Orchestrator:
    """The web process of a run, and its learner in this one."""

    def __init__(self, root, url):
        settings = [
            f"run.model={root / 'model'}", "trainer.batch_trees=1", "evaluation.problems=0",
            "learner.dtype=float32",
        ]  # fmt: skip
        config = resolve([set_layer(settings)], Registry(PluginHost().load()))
        directory = RunDirectory(root / "run")
        prepare(directory, config, "test")
        self.store = Store(directory, config)
        self.learner = Learner(self.store, PluginHost())
        self.learner.open()
        self.client = Client(url, "worker")

    def publish(self):
        """Take a step, with a gradient that came over HTTP."""
        (leased,) = self.client.problems(1)
        builder = TreeBuilder(leased.problem.id, [1], lease_id=leased.lease_id)
        builder.add_leaf(builder.add_segment(PROMPT, [5], [-1.0], 0), "eos")
        self.client.upload_tree(builder.build().with_rewards({}, np.ones(1, np.float32)))
        self.client.send_gradient(
            WholeBody({"codec": "none"}, WEIGHT, self.client.transport),
            upload_id=uuid.uuid4().hex, batch_id=self.client.batch().id,
            base_version=0, weight=1.0, codec="none", metrics={},
        )  # fmt: skip
        self.learner.step(self.store.gradients.pending())


@pytest.fixture
def orchestrator(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": torch.ones(4, 5)}, model / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    with listen("127.0.0.1", 0) as listener:
        number = listener.fileno()
        made = Orchestrator(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
        root = str(made.store.directory.root)
        web = subprocess.Popen(
            [sys.executable, "-m", "ralo_server.web", root, str(number)], pass_fds=[number]
        )
        yield made
        web.terminate()
        web.wait(PATIENCE)


def following(orchestrator, tmp_path, scenario):
    """Run `scenario(weights)` while a counted engine's weights follow the orchestrator's."""

    async def run():
        client = orchestrator.client
        cache = await asyncio.to_thread(WeightsCache, client, "run", tmp_path / "cache")
        weights = WeightSync(
            client=client, cache=cache, engine=CountedEngine(4), newest=cache.newest(-1),
            clock=ServerClock(), activity=Activity(),
        )  # fmt: skip
        follow = asyncio.create_task(weights.follow())
        decode = asyncio.create_task(
            weights.engine.generate([GenerationRequest(prompt=(1,), max_tokens=9)])
        )
        try:
            await scenario(weights)
        finally:
            follow.cancel()
            decode.cancel()

    asyncio.run(run())


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_new_version_is_staged_then_swapped_in_then_sampled_with(orchestrator, tmp_path):
    async def scenario(weights):
        await asyncio.to_thread(orchestrator.publish)
        await until(lambda: weights.engine.loaded == [1])
        report = weights.activity.weights
        (file,) = (f for f in weights.newest.version.files if f.name == "model.safetensors")
        assert report.bytes == file.size, "the other files are those of version 0"
        assert report.staging_seconds > 0
        assert (report.activations, report.pause_seconds) == (1, PAUSE)
        assert report.last is None, "no token was decoded with it yet"
        await weights.engine.step()
        await until(lambda: weights.activity.weights.last is not None)
        assert weights.activity.weights.last.version == weights.activity.version == 1

    following(orchestrator, tmp_path, scenario)


def test_while_a_version_is_held_newer_ones_are_staged_but_not_swapped_in(orchestrator, tmp_path):
    async def scenario(weights):
        async with weights.held_at(0):
            await asyncio.to_thread(orchestrator.publish)
            await until(lambda: weights.activity.weights.bytes)
            await asyncio.to_thread(orchestrator.publish)
            assert (weights.engine.version, weights.engine.loaded) == (0, [])
        await until(lambda: weights.engine.version == 2)
        assert weights.engine.loaded in ([1, 2], [2])

    following(orchestrator, tmp_path, scenario)


def test_an_older_version_is_held_and_the_newest_taken_again(orchestrator, tmp_path):
    async def scenario(weights):
        await asyncio.to_thread(orchestrator.publish)
        await until(lambda: weights.engine.version == 1)
        async with weights.held_at(0):
            assert weights.activity.version == weights.engine.version == 0
        assert weights.engine.loaded == [1, 0, 1]
        assert weights.activity.weights.pause_seconds == 3 * PAUSE
        assert weights.activity.weights.last_pause_seconds == PAUSE

    following(orchestrator, tmp_path, scenario)
