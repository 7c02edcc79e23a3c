"""The learner's step is torch.optim.AdamW in fp32 on the token-weighted mean gradient."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

torch.set_num_threads(1)

SETTINGS = ("trainer.batch_trees=2", "learner.gradients_per_step=2", "optimizer.adamw.lr=0.01")


def published(server):
    version = server.store.versions.newest_number()
    return load_file(server.store.versions.directory(version) / "model.safetensors")


def reference_step(parameters, optimizer, gradients, weights, max_norm):
    for name, parameter in parameters.items():
        terms = [
            weight * torch.from_numpy(gradient[name]).view(parameter.shape)
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        parameter.grad = sum(terms) / sum(weights)
    torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm)
    optimizer.step()


@pytest.mark.parametrize("warmup", [0, 3])
def test_steps_equal_adamw_on_the_token_weighted_mean(server, random_gradient, warmup):
    options = ("optimizer.adamw.weight_decay=0.1", f"optimizer.adamw.warmup_steps={warmup}")
    run = server(*SETTINGS, *options)
    learner = run.learner()
    parameters = {name: torch.nn.Parameter(value) for name, value in published(run).items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)
    for step in range(1, 5):
        gradients, weights = [], []
        for part in range(2):
            run.fill(2)
            gradients.append(random_gradient(10 * step + part))
            weights.append(float(part + 1))
            answer = run.send_gradient(
                run.batch().id, gradients[-1], f"g{step}{part}", weight=weights[-1],
                base_version=step - 1,
            )  # fmt: skip
            assert answer.json["accepted"], answer.json
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (min(1, step / warmup) if warmup else 1)
        reference_step(parameters, optimizer, gradients, weights, 1.0)
        learner._step(learner._due("running"))
        for name, value in published(run).items():
            torch.testing.assert_close(value, parameters[name].data, rtol=1e-6, atol=1e-7)


def test_metrics_of_a_step_are_means_over_what_it_consumed(server, random_gradient):
    run = server("trainer.batch_trees=2", "optimizer.adamw.lr=0.01")
    learner = run.learner()
    first, second = run.lease(2)
    run.upload(first, rewards=(1.0, 0.0, 0.0, 1.0))
    run.upload(second, rewards=(0.0, 1.0))
    gradient = random_gradient(1)
    run.send_gradient(run.batch().id, gradient, "g1", weight=12.0)
    learner._step(learner._due("running"))
    learner._tell_trackers()
    (row,) = map(json.loads, (run.directory.root / "metrics.jsonl").read_text().splitlines())
    assert (row["step"], row["version"], row["trees"], row["rollouts"]) == (1, 1, 2, 6)
    assert row["reward"] == pytest.approx(0.5)
    assert (row["tokens"], row["response_tokens"], row["staleness"]) == (12, 2.0, 0.0)
    assert row["loss"] == 0.5
    norm = sum(float((value.astype("f8") ** 2).sum()) for value in gradient.values()) ** 0.5
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)


def test_a_restarted_learner_goes_on_with_the_same_optimizer_state(server, random_gradient):
    outcomes = []
    for restart in (False, True):
        run = server("trainer.batch_trees=1", "optimizer.adamw.lr=0.01", f"run.name=r{restart}")
        learner = run.learner()
        for step in range(1, 4):
            run.fill(1)
            run.send_gradient(run.batch().id, random_gradient(step), f"{restart}{step}")
            if restart:
                learner = run.learner()
            learner._step(learner._due("running"))
        outcomes.append(published(run))
        shutil.rmtree(run.directory.root)
    for name, value in outcomes[0].items():
        assert torch.equal(value, outcomes[1][name])


def test_what_a_killed_step_left_behind_is_removed(server, random_gradient):
    run = server("trainer.batch_trees=1")
    run.learner()
    for stray in ("optimizer/step-000007", "weights/v000001", "weights/v000002.part"):
        (run.directory.root / stray).mkdir(parents=True)
    learner = run.learner()
    assert [path.name for path in run.directory.optimizer.iterdir()] == []
    assert sorted(path.name for path in run.directory.weights.glob("v*")) == ["v000000"]
    run.fill(1)
    run.send_gradient(run.batch().id, random_gradient(0), "g")
    learner._step(learner._due("running"))
    assert run.store.versions.newest_number() == 1


def test_old_versions_are_pruned_but_not_the_first_nor_those_to_evaluate(server, random_gradient):
    settings = ("learner.keep_last_versions=2", "evaluation.every_steps=3")
    run = server("trainer.batch_trees=1", *settings)
    learner = run.learner()
    for step in range(1, 8):
        run.fill(1)
        run.send_gradient(run.batch().id, random_gradient(step), f"g{step}")
        learner._step(learner._due("running"))
    kept = sorted(path.name for path in run.directory.weights.glob("v*"))
    assert kept == ["v000000", "v000003", "v000006", "v000007"]
    assert not list(run.directory.gradients.iterdir())
    assert not list(run.directory.samples.iterdir())
