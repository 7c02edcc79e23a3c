"""A learner that is started again continues exactly where the last committed step ended."""

import pytest
import torch
from safetensors.torch import load_file

torch.set_num_threads(1)

SETTINGS = ("trainer.batch_trees=1", "optimizer.adamw.lr=0.01", "optimizer.adamw.weight_decay=0.1",
            "evaluation.problems=0", "learner.keep_last_versions=2")  # fmt: skip
STEPS = 16
"""Many: what a commit leaves out at some steps only must show, too."""


def published(run):
    number = run.store.versions.newest_number()
    return load_file(run.store.versions.directory(number) / "model.safetensors")


@pytest.mark.parametrize("life", [1, 3])
def test_learners_that_live_for_few_steps_make_the_weights_of_one_adamw(
    server, random_gradient, life
):
    run = server(*SETTINGS)
    learner = run.learner()
    parameters = {name: torch.nn.Parameter(value) for name, value in published(run).items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)
    for step in range(STEPS):
        if step % life == 0:
            learner.checkpoints._thread.shutdown()  # a process that ended has no threads
            learner = run.learner()
        run.fill(1)
        gradient = random_gradient(step)
        answer = run.send_gradient(run.batch().id, gradient, f"g{step}", base_version=step)
        assert answer.status_code == 200, answer.text
        learner.step(learner.due())
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradient[name]).view(parameter.shape)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        for name, value in published(run).items():
            torch.testing.assert_close(value, parameters[name].data, rtol=1e-5, atol=1e-6)
