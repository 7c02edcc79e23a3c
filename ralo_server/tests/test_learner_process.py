"""kill -9 of the real learner process at random moments: every gradient is applied exactly once."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from patience import wait_for
from safetensors.torch import load_file

STEPS = 30


@pytest.mark.slow
def test_kill_9_of_the_learner_applies_every_gradient_exactly_once(server, random_gradient):
    run = server(
        "trainer.batch_trees=1",
        "optimizer.adamw.lr=0.01",
        f"learner.keep_last_versions={STEPS + 1}",
        f"run.max_steps={STEPS}",
        "evaluation.problems=0",
        "server.queued_trees=64",
    )
    process = start(run)
    wait_for(lambda: run.store.versions.newest_number() == 0)
    parameters = {
        name: torch.nn.Parameter(value)
        for name, value in load_file(run.store.versions.directory(0) / "model.safetensors").items()
    }
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.0)
    dice, kills, sent = random.Random(0), 0, 0
    while process.poll() != 0:
        # As many that it cannot come to the end before it was killed six times.
        for number in range(sent, STEPS if kills == 6 else 4 * kills + 5):
            run.fill(1)
            run.send_gradient(run.batch().id, random_gradient(number), f"g{number}")
            sent += 1
        time.sleep(dice.uniform(0.0, 0.25))
        if process.poll() is None and kills < 6 and run.store.run.step() > 4 * kills:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        if process.poll() not in (None, 0):
            process = start(run)
    assert run.store.run.current() == "finished"
    assert kills == 6
    for number in range(STEPS):
        for name, value in random_gradient(number).items():
            parameters[name].grad = torch.from_numpy(value).view(parameters[name].shape)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
    final = load_file(run.store.versions.directory(STEPS) / "model.safetensors")
    for name, parameter in parameters.items():
        torch.testing.assert_close(final[name], parameter.data, rtol=1e-6, atol=1e-7)
    lines = (run.directory.root / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))


def start(run):
    with (run.directory.logs / "learner.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ralo_server.learner", str(run.directory.root)],
            stdout=log,
            stderr=log,
        )
