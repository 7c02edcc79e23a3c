"""A trainer that is told to stop hands back what it holds, pushes what is finished and says so."""

import signal
import threading

import numpy as np
import pytest
from patience import PATIENCE
from served_run import ServedRun

from ralo_core import PROMPT, TreeBuilder
from ralo_core.client import Client

SETTINGS = (
    "server.port=0",
    "trainer.batch_trees=1",
    "evaluation.problems=0",
    "learner.gradients_per_step=60",
)


@pytest.fixture
def run(model, tmp_path):
    served = ServedRun(tmp_path, f"run.model={model}", *SETTINGS)
    yield served
    served.close()


def feed(client, stopping):
    """Hand in trees, more than a trainer gets through."""
    while not stopping.is_set():
        for leased in client.problems(4, wait=0.5) or ():
            builder = TreeBuilder(leased.problem.id, [1, 2, 3], lease_id=leased.lease_id)
            for token in (5, 6, 7, 8):
                node = builder.add_segment(PROMPT, [token] * 60, [-3.0] * 60, 0)
                builder.add_leaf(node, "eos")
            client.upload_tree(builder.build().with_rewards({}, np.float32([1, 0, 0, 1])))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda s: s.name)
@pytest.mark.parametrize("ranks", [1, 2])
def test_by_a_signal(run, number, ranks):
    stopping = threading.Event()
    feeder = threading.Thread(target=feed, args=(Client(run.url, "feeder"), stopping))
    feeder.start()
    run.start("train", "--server", run.url, "--nproc", str(ranks))
    run.wait_for(lambda: run.stats()["gradients"]["pending"] >= 3)
    name = next(name for name in run.processes if name.startswith("train"))
    process = run.processes.pop(name)
    process.send_signal(number)
    code = process.wait(PATIENCE)
    stopping.set()
    feeder.join()
    assert code == 0, run.logs()
    stats = run.stats()
    (worker,) = [worker for worker in stats["workers"] if worker["role"] == "trainer"]
    assert worker["state"] == "left"
    assert stats["batches"]["leased"] == stats["trees"]["leased"] == 0, "all leases went back"
    assert stats["trees"]["failed"] == 0
