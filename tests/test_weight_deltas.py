"""Versions that are made of deltas are those that are downloaded whole, bit for bit: real steps
of the learner, the real web process, the cache of a worker."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from patience import PATIENCE
from safetensors.torch import load_file, save_file

from ralo_core import PROMPT, TreeBuilder
from ralo_core.client import Client, WholeBody
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.cli.serve import listen
from ralo_server.learner.loop import Learner
from ralo_server.preparation import prepare
from ralo_server.rollback import roll_back
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_worker.weights.cache import WeightsCache

SHAPES = {"a.weight": (500, 1000), "b.bias": (100,), "c.weight": (200, 500)}
SETTINGS = ("trainer.batch_trees=1", "evaluation.problems=0", "learner.keep_last_versions=9",
            "optimizer.adamw.lr=1e-5")  # fmt: skip


class Run:
    """A run whose learner takes steps here, served by a process of its own."""

    def __init__(self, root, settings):
        self.root = root
        config = resolve([set_layer(settings)], Registry(PluginHost().load()))
        directory = RunDirectory(root / "run")
        prepare(directory, config, "test")
        self.store = Store(directory, config)
        self.learner = Learner(self.store, PluginHost())
        self.learner.open()
        self.caches = 0

    def step(self, count=1):
        """Take so many steps, each on a gradient of its own that came over the wire."""
        for _ in range(count):
            newest = self.store.versions.newest_number()
            (leased,) = self.client.problems(1)
            builder = TreeBuilder(leased.problem.id, [1], lease_id=leased.lease_id)
            builder.add_leaf(builder.add_segment(PROMPT, [2], [-1.0], newest), "eos")
            self.client.upload_tree(builder.build().with_rewards({}, np.ones(1, np.float32)))
            rng = np.random.default_rng(newest)
            tensors = {n: rng.normal(size=shape).astype(np.float32) for n, shape in SHAPES.items()}
            self.client.send_gradient(
                WholeBody({"codec": "none"}, tensors, self.client.transport),
                upload_id=f"g{newest}", batch_id=self.client.batch().id, base_version=newest,
                weight=1.0, codec="none", metrics={"loss": 0.0},
            )  # fmt: skip
            self.learner.step(self.learner.due())

    def reopen(self):
        """Go on as a restarted learner does."""
        self.learner = Learner(self.store, PluginHost())
        self.learner.open()

    def cache(self):
        """Return the cache of a worker on a machine of its own."""
        self.caches += 1
        return WeightsCache(self.client, "run", self.root / f"cache-{self.caches}")

    def version(self, number):
        return self.store.versions.get(number)

    def directory(self, number):
        return self.store.versions.directory(number)


@pytest.fixture
def make_run(tmp_path):
    """Return a function that starts a run; its arguments are ``--set`` assignments."""
    model = tmp_path / "model"
    model.mkdir()
    torch.manual_seed(0)
    tensors = {name: torch.randn(shape) * 0.02 for name, shape in SHAPES.items()}
    save_file({**tensors, "ids": torch.arange(7)}, model / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    started = []

    def make(*settings):
        run = Run(tmp_path, [f"run.model={model}", *SETTINGS, *settings])
        listener = listen("127.0.0.1", 0)
        number = listener.fileno()
        directory = run.store.directory
        process = subprocess.Popen(
            [sys.executable, "-m", "ralo_server.web", str(directory.root), str(number)],
            pass_fds=[number],
        )
        started.append((process, listener))
        run.client = Client("http://{}:{}".format(*listener.getsockname()), "w")
        run.client.health()
        return run

    yield make
    for process, listener in started:
        process.terminate()
        process.wait(PATIENCE)
        listener.close()


def contents(folder):
    """Return the files of a version; what the cache writes down about them is not one of them."""
    files = [path for path in Path(folder).iterdir() if path.name != "manifest.json"]
    return {path.name: path.read_bytes() for path in files}


def downloaded(run, number):
    """Return the files of a version as a worker has them that never saw another."""
    return contents(run.cache().stage(run.version(number)).directory)


def test_one_delta_gives_every_file_bit_for_bit(make_run):
    run = make_run()
    cache = run.cache()
    cache.newest(-1)
    run.step()
    version = run.version(1)
    (delta,) = version.deltas
    assert (delta.base, delta.base_sha256) == (0, run.version(0).sha256)
    assert (run.directory(1) / delta.file.name).stat().st_size == delta.file.size
    staged = cache.newest(0)
    assert staged.version == version
    assert staged.bytes == delta.file.size < version.size / 4
    assert contents(staged.directory) == downloaded(run, 1)
    before, after = (load_file(run.directory(n) / "model.safetensors") for n in (0, 1))
    assert torch.equal(before["ids"], after["ids"])
    assert not torch.equal(before["a.weight"], after["a.weight"])


@pytest.mark.parametrize("options", [(), ("learner.shard_mb=1",), ("learner.dtype=float16",)])
def test_a_chain_of_versions_is_applied_in_one_go(make_run, options):
    run = make_run(*options)
    cache = run.cache()
    cache.newest(-1)
    run.step(4)
    staged = cache.newest(0)
    links = run.client.deltas(0, 4)
    assert [link.version for link in links] == [1, 2, 3, 4]
    assert staged.bytes == sum(link.delta.file.size for link in links)
    assert contents(staged.directory) == downloaded(run, 4)
    shards = len(list(staged.directory.glob("*.safetensors")))
    assert shards == (2 if "learner.shard_mb=1" in options else 1)


def test_a_chain_that_would_be_longer_than_the_version_is_not_taken(make_run):
    run = make_run("optimizer.adamw.lr=3e-4")
    cache = run.cache()
    cache.newest(-1)
    run.step(5)
    assert all(run.version(number).deltas for number in range(1, 6))
    assert run.client.deltas(0, 5) == ()
    assert cache.newest(0).bytes > run.version(5).size / 2
    assert [link.version for link in run.client.deltas(3, 5)] == [4, 5]


def test_where_a_version_between_is_pruned_the_whole_one_is_fetched(make_run):
    run = make_run("learner.keep_last_versions=2")
    cache = run.cache()
    cache.newest(-1)
    run.step(3)
    assert run.version(1) is None
    assert run.client.deltas(0, 3) == ()
    staged = cache.newest(0)
    assert staged.bytes >= run.directory(3).joinpath("model.safetensors").stat().st_size
    run.step(2)
    assert [link.version for link in run.client.deltas(3, 5)] == [4, 5], "the base may be gone"
    staged = cache.newest(3)
    assert staged.bytes < run.version(5).size / 4
    assert contents(staged.directory) == downloaded(run, 5)


def test_after_a_rollback_the_content_is_right_and_deltas_go_on(make_run, caplog):
    run = make_run()
    cache, late = run.cache(), run.cache()
    late.newest(-1)
    run.step(2)
    two = cache.newest(-1)
    run.step()
    roll_back(run.store, 2)
    assert run.version(4).deltas == ()
    again = cache.newest(2)
    assert (again.version.number, again.bytes) == (4, 0), "its content is here already"
    assert contents(again.directory) == contents(two.directory) == downloaded(run, 4)
    run.reopen()
    run.step(2)
    (delta,) = run.version(5).deltas
    assert (delta.base, delta.base_sha256) == (4, run.version(2).sha256)
    staged = cache.newest(4)
    assert staged.bytes < run.version(6).size / 4
    assert contents(staged.directory) == downloaded(run, 6)
    assert contents(late.newest(0).directory) == downloaded(run, 6)
    assert not caplog.records


def test_without_the_setting_there_are_no_deltas(make_run):
    run = make_run("learner.deltas=false")
    run.step()
    assert run.version(1).deltas == ()
    assert not list(run.directory(1).glob("*.delta"))


def test_no_delta_where_it_would_hardly_be_smaller(make_run):
    run = make_run("optimizer.adamw.lr=0.5", "learner.dtype=float32")
    run.step()
    assert run.version(1).deltas == ()
    assert not list(run.directory(1).glob("*.delta"))


def damage_file(path):
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)


def damage_base(path):
    """Change a weight of the base on the worker's disk: nothing notices but the result's sha256."""
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["delta", "base", "cut base", "no base"])
def test_anything_wrong_ends_in_the_whole_version(make_run, what, caplog):
    run = make_run()
    cache = run.cache()
    base = cache.newest(-1).directory / "model.safetensors"
    run.step()
    version = run.version(1)
    if what == "delta":
        damage_file(run.directory(1) / version.deltas[0].file.name)
    elif what == "base":
        damage_base(base)
    elif what == "cut base":
        base.write_bytes(base.read_bytes()[:-10])
    else:
        shutil.rmtree(base.parent)
    with caplog.at_level(logging.WARNING):
        staged = cache.newest(0)
    assert staged.bytes >= version.find("model.safetensors").size
    assert contents(staged.directory) == downloaded(run, 1)
    assert ("version 1 is fetched whole" in caplog.text) == (what != "no base")


def test_a_run_can_begin_with_a_published_version(make_run, tmp_path):
    run = make_run()
    run.step()
    shutil.move(run.directory(1), tmp_path / "published")
    shutil.rmtree(run.store.directory.root)
    other = make_run(f"run.model={tmp_path / 'published'}")
    assert sorted(path.name for path in other.store.directory.model.iterdir()) == [
        "config.json", "tokenizer.json"
    ]  # fmt: skip
    other.step()
    assert contents(other.cache().newest(-1).directory).keys() == {
        "config.json", "tokenizer.json", "model.safetensors"
    }  # fmt: skip
