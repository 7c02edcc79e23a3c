"""A batch whose gradient the server refuses does not stop the trainer, nor come back for ever."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from patience import PATIENCE
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, TreeBuilder
from ralo_core.client import Client, Connection
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.cli.serve import listen
from ralo_server.learner.loop import Learner
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_worker.membership import join
from ralo_worker.trainer.runtime import SECTIONS, Trainer

POISON = 7
"""A token whose embedding is NaN: only a tree that has it gives a gradient that is not finite."""


@pytest.fixture
def store(tmp_path):
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
            num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
        )
    )  # fmt: skip
    with torch.no_grad():
        model.model.embed_tokens.weight[POISON] = torch.nan
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    settings = [
        f"run.model={tmp_path / 'model'}", "trainer.batch_trees=1", "evaluation.problems=0",
        "codec.use='int8'",
    ]  # fmt: skip
    config = resolve([set_layer(settings)], Registry(PluginHost().load()))
    directory = RunDirectory(tmp_path / "run")
    prepare(directory, config, "test")
    store = Store(directory, config)
    Learner(store, PluginHost()).open()
    return store


@pytest.fixture
def url(store):
    with listen("127.0.0.1", 0) as listener:
        number = listener.fileno()
        web = subprocess.Popen(
            [sys.executable, "-m", "ralo_server.web", str(store.directory.root), str(number)],
            pass_fds=[number],
        )
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        web.terminate()
        web.wait(PATIENCE)


def upload_tree(client, first_token):
    (leased,) = client.problems(1)
    builder = TreeBuilder(leased.problem.id, [1, 2], lease_id=leased.lease_id)
    for token in (first_token, 9):
        builder.add_leaf(builder.add_segment(PROMPT, [token, 5], [-3.0, -3.0], 0), "eos")
    client.upload_tree(builder.build().with_rewards({}, np.array([1.0, 0.0], np.float32)))


def test_the_batch_is_set_aside_and_the_trainer_goes_on(store, url):
    client, stopping = Client(url, "sampler"), threading.Event()
    upload_tree(client, POISON)
    upload_tree(client, 8)
    trainer = Trainer(join(Connection(url=url), "trainer", SECTIONS, stopping))
    thread = threading.Thread(target=trainer.run)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not store.gradients.pending() and thread.is_alive():
        assert time.monotonic() < deadline, "the second batch was never reached"
        time.sleep(0.05)
    stopping.set()
    thread.join(PATIENCE)
    stats = client.stats()
    assert stats.trees.failed == 1
    assert stats.gradients.refused_by_reason["not_finite"] == 1
    assert (stats.gradients.pending, stats.batches.leased) == (1, 0)
