"""The learner's step is torch.optim.AdamW in fp32 on the token-weighted mean gradient."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from upload_runs import states

from ralo_core import wire
from ralo_server.store.versions import Origin

torch.set_num_threads(1)

SETTINGS = ("trainer.batch_trees=2", "learner.gradients_per_step=2", "optimizer.adamw.lr=0.01")
KEEP_NO_TREES = ("rollouts.keep_last=0", "rollouts.keep_every=0")


PARTS = {f"step/{part}_seconds" for part in ("aggregate", "clip", "step", "publish")}


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
        learner.step(learner.due())
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
    learner.step(learner.due())
    learner.trackers.close()
    (row,) = map(json.loads, (run.directory.root / "metrics.jsonl").read_text().splitlines())
    assert (row["step"], row["version"], row["trees"], row["rollouts"]) == (1, 1, 2, 6)
    assert row["reward"] == pytest.approx(0.5)
    assert (row["tokens"], row["response_tokens"], row["staleness"]) == (12, 2.0, 0.0)
    assert row["loss"] == 0.5
    assert (row["decoded_tokens"], row["sharing_ratio"], row["stop/eos"]) == (12, 0.0, 1.0)
    assert (row["leaves_at_depth/1"], row["first_branches"], row["zero_variance_share"]) == (
        1,
        3,
        0,
    )
    norm = sum(float((value.astype("f8") ** 2).sum()) for value in gradient.values()) ** 0.5
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert "solved" not in row, "these trees have a total only"


def test_a_step_says_what_share_is_solved_and_where_its_time_went(server, random_gradient):
    run = server("trainer.batch_trees=2", "optimizer.adamw.lr=0.01")
    learner = run.learner()
    for step in (1, 2):
        for leased, right in zip(run.lease(2), ([1, 0, 0], [1, 1, 1]), strict=True):
            tree = run.make_tree(leased["problem"]["id"], leased["lease_id"], (0, 0, 0))
            parts = {"arithmetic": np.asarray(right, np.float32), "z": np.ones(3, np.float32)}
            body = wire.pack_tree(tree.with_rewards(parts, np.asarray(right, np.float32) / 2))
            run.post_tree(body, leased["lease_id"])
        run.send_gradient(run.batch().id, random_gradient(step), f"g{step}", base_version=step - 1)
        learner.step(learner.due())
    first, second = (metrics for _, metrics in run.store.steps.after(0, 2))
    assert first["solved"] == pytest.approx(4 / 6)
    assert (first["reward"], first["rollouts"]) == (pytest.approx(2 / 6), 6)
    assert first.keys() >= PARTS
    assert "step/commit_seconds" not in first
    assert second["step/commit_seconds"] > 0
    for metrics in (first, second):
        assert all(metrics[part] > 0 for part in PARTS)
        assert sum(metrics[part] for part in PARTS) <= metrics["step_seconds"]
    seconds = second["elapsed_seconds"] - first["elapsed_seconds"]
    assert second["tokens_per_second"] == pytest.approx(second["decoded_tokens"] / seconds)
    assert second["rollouts_per_second"] == pytest.approx(6 / seconds)


def test_batches_without_a_gradient_are_counted_until_a_step_takes_them_up(server, random_gradient):
    run = server("trainer.batch_trees=1")
    learner = run.learner()

    def batches():
        return run.http.simulate_get("/stats").json["batches"]

    for _ in range(2):
        run.fill(1)
        body = {"lease_ids": [run.batch().id], "outcome": "empty", "reason": "no advantage"}
        run.http.simulate_post("/lease/release", json=body)
    run.fill(1)
    batch = run.batch()
    assert batches() == {"leased": 1, "empty": 2}
    run.send_gradient(batch.id, random_gradient(0), "g")
    learner.step(learner.due())
    assert batches() == {"leased": 0, "empty": 0}


def test_only_the_last_step_of_the_statistics_has_its_parts(server, random_gradient):
    run = server("trainer.batch_trees=1")
    learner = run.learner()
    for number in range(3):
        run.fill(1)
        sent = {"base_version": number, "metrics": {"loss": 1.0, "kl/p50": 2.0}}
        run.send_gradient(run.batch().id, random_gradient(number), f"g{number}", **sent)
        learner.step(learner.due())
    steps = run.http.simulate_get("/stats").json["steps"]
    assert [{"stop/eos", "kl/p50"} <= step.keys() for step in steps] == [False, False, True]
    assert [{"sharing_ratio", "loss"} <= step.keys() for step in steps] == [True] * 3
    assert not any("/" in name for step in steps[:-1] for name in step)


def test_a_metric_that_a_gradient_leaves_out_is_the_mean_of_the_others(server, random_gradient):
    run = server("trainer.batch_trees=1", "learner.gradients_per_step=3")
    learner = run.learner()
    metrics = [(1.0, {"kl": 2.0}), (3.0, {"kl": 6.0}), (9.0, {})]
    for number, (weight, known) in enumerate(metrics):
        run.fill(1)
        sent = {"weight": weight, "metrics": {"loss": 1.0, **known}}
        run.send_gradient(run.batch().id, random_gradient(number), f"g{number}", **sent)
    learner.step(learner.due())
    (row,) = run.http.simulate_get("/stats").json["steps"]
    assert (row["loss"], row["kl"]) == (1.0, (1 * 2.0 + 3 * 6.0) / 4)


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
            learner.step(learner.due())
        outcomes.append(published(run))
        shutil.rmtree(run.directory.root)
    for name, value in outcomes[0].items():
        assert torch.equal(value, outcomes[1][name])


def test_what_a_killed_step_left_behind_is_removed(server, random_gradient):
    run = server("trainer.batch_trees=1")
    run.learner()
    for stray in ("optimizer/step-000007", "weights/v000001", "weights/v000002.part"):
        (run.directory.root / stray).mkdir(parents=True)
    (run.directory.weights / "parameters.json.0.part").write_text("[")
    learner = run.learner()
    assert [path.name for path in run.directory.optimizer.iterdir()] == []
    left = sorted(path.name for path in run.directory.weights.iterdir())
    assert left == ["parameters.json", "v000000"]
    run.fill(1)
    run.send_gradient(run.batch().id, random_gradient(0), "g")
    learner.step(learner.due())
    assert run.store.versions.newest_number() == 1


def take_step(run, learner, gradient, name, **declared):
    run.fill(1)
    answer = run.send_gradient(run.batch().id, gradient, name, **declared)
    assert answer.json["accepted"], answer.json
    learner.step(learner.due())


def test_a_gradient_that_is_too_old_is_left_out_and_counted(server, random_gradient):
    run = server(
        "trainer.batch_trees=1", "learner.gradients_per_step=2", "optimizer.adamw.lr=0.01",
        "aggregation.use=staleness_mean", "aggregation.staleness_mean.max_staleness=0",
    )  # fmt: skip
    learner = run.learner()
    parameters = {name: torch.nn.Parameter(value) for name, value in published(run).items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.0)
    for step in (1, 2):
        for part in range(2):
            run.fill(1)
            base = 0 if part else step - 1
            gradient = random_gradient(10 * step + part)
            run.send_gradient(run.batch().id, gradient, f"g{step}{part}", base_version=base)
        fresh = [random_gradient(10 * step + part) for part in range(2 if step == 1 else 1)]
        reference_step(parameters, optimizer, fresh, [4.0] * len(fresh), 1.0)
        learner.step(learner.due())
    for name, value in published(run).items():
        torch.testing.assert_close(value, parameters[name].data, rtol=1e-6, atol=1e-7)
    assert states(run) == {"g10": "applied", "g11": "applied", "g20": "applied", "g21": "left_out"}
    stats = run.http.simulate_get("/stats").json
    assert [step["gradients_left_out"] for step in stats["steps"]] == [0, 1]
    assert [step["trees"] for step in stats["steps"]] == [2, 2]
    assert stats["gradients"]["left_out"] == 1


def test_where_all_are_left_out_no_step_is_taken_and_the_next_one_counts_them(
    server, random_gradient
):
    run = server("trainer.batch_trees=1", "optimizer.adamw.lr=0.01", *KEEP_NO_TREES)
    learner = run.learner()
    before = published(run)
    weigh, learner.aggregator.weigh = learner.aggregator.weigh, lambda gradients, version: [0.0]
    take_step(run, learner, random_gradient(1), "old")
    assert run.store.run.step() == 0
    assert states(run) == {"old": "left_out"}
    assert not list(run.directory.gradients.iterdir())
    assert all(torch.equal(value, before[name]) for name, value in published(run).items())
    learner.aggregator.weigh = weigh
    take_step(run, learner, random_gradient(2), "new")
    (step,) = run.http.simulate_get("/stats").json["steps"]
    assert (step["step"], step["gradients_left_out"], step["trees"]) == (1, 1, 2)
    assert not list(run.directory.samples.iterdir())


def test_gradients_that_combine_to_infinity_make_no_step(server, random_gradient, caplog):
    run = server("trainer.batch_trees=1", "optimizer.adamw.lr=0.01")
    learner = run.learner()
    take_step(run, learner, random_gradient(1), "g1")
    learner.aggregator.combine = lambda values, weights: values[0] * np.float32("inf")
    with np.errstate(invalid="ignore"):
        take_step(run, learner, random_gradient(2), "g2")
    learner.finish()
    assert "combine to a norm of" in caplog.text
    assert states(run) == {"g1": "applied", "g2": "left_out"}
    assert [path.name for path in run.directory.optimizer.iterdir()] == ["v000001"]
    assert run.store.versions.newest_number() == 1


def optimizers(run):
    return sorted(path.name for path in run.directory.optimizer.iterdir())


def test_versions_are_kept_for_good_with_their_optimizer_state(server, random_gradient):
    run = server(
        "trainer.batch_trees=1", "learner.keep_last_versions=2", "learner.keep_every=3",
        "evaluation.problems=0", "learner.checkpoint_every=1",
    )  # fmt: skip
    learner = run.learner()
    for step in range(1, 9):
        take_step(run, learner, random_gradient(step), f"g{step}")
    learner.close()
    kept = sorted(path.name for path in run.directory.weights.glob("v*"))
    assert kept == ["v000000", "v000003", "v000006", "v000007", "v000008"]
    assert optimizers(run) == ["v000003", "v000006", "v000007", "v000008"]
    rows = run.store.database.rows("SELECT number, optimizer FROM versions WHERE number IN (0, 6)")
    assert [tuple(row) for row in rows] == [(0, ""), (6, "v000006")]


def logs(run):
    return sorted(path.stem for path in run.directory.gradients.iterdir())


def test_only_the_gradients_that_kept_versions_need_are_kept(server, random_gradient):
    """A version that is kept for good has its own checkpoint: it must not keep all before it."""
    run = server(
        "trainer.batch_trees=1", "learner.keep_last_versions=2", "learner.keep_every=5",
        "evaluation.problems=0", "learner.checkpoint_every=3",
    )  # fmt: skip
    learner, seen = run.learner(), {}
    for step in range(1, 10):
        take_step(run, learner, random_gradient(step), f"g{step}")
        learner.settle()
        seen[step] = (optimizers(run), logs(run))
    learner.close()
    origins = {kept.version.number: kept.origin for kept in run.store.versions.kept()}
    assert origins == {
        0: Origin(), 5: Origin(checkpoint="v000005"),
        8: Origin(checkpoint="v000008"), 9: Origin(checkpoint="v000008", replay=(9,)),
    }  # fmt: skip
    assert seen[2] == (["working"], ["g1", "g2"])
    assert seen[3][1] == ["g1", "g2"], "version 2 begins at the model still"
    assert seen[4] == (["v000003", "working"], ["g4"])
    assert seen[5][1] == ["g4"]
    assert seen[7][1] == ["g6", "g7"]
    assert optimizers(run) == ["v000005", "v000008"]
    assert logs(run) == ["g9"]


def test_a_folder_that_two_versions_need_stays_until_both_are_pruned(server, random_gradient):
    run = server(
        "trainer.batch_trees=1", "learner.keep_last_versions=2", "evaluation.problems=0",
        "learner.checkpoint_every=1",
    )  # fmt: skip
    learner = run.learner()
    take_step(run, learner, random_gradient(1), "g1")
    learner.settle()
    with run.store.database.write() as connection:
        connection.execute("UPDATE versions SET optimizer = 'v000001' WHERE number = 0")
    for step in range(2, 6):
        take_step(run, learner, random_gradient(step), f"g{step}")
    learner.close()
    assert optimizers(run) == ["v000001", "v000004", "v000005"]


def test_a_gradient_file_that_outlived_its_step_is_removed_at_the_next_start(
    server, random_gradient
):
    run = server("trainer.batch_trees=1", "learner.keep_last_versions=1")
    learner = run.learner()
    take_step(run, learner, random_gradient(1), "g1")
    learner.finish()
    run.fill(1)
    run.send_gradient(run.batch().id, random_gradient(2), "g2")
    (run.directory.gradients / "g1.safetensors").write_bytes(b"left behind")
    run.learner()
    assert [path.name for path in run.directory.gradients.iterdir()] == ["g2.safetensors"]


def test_old_versions_are_pruned_but_not_the_first_nor_those_to_evaluate(server, random_gradient):
    settings = ("learner.keep_last_versions=2", "evaluation.every_steps=3",
                "learner.checkpoint_every=1", *KEEP_NO_TREES)  # fmt: skip
    run = server("trainer.batch_trees=1", *settings)
    learner = run.learner()
    for step in range(1, 8):
        run.fill(1)
        run.send_gradient(run.batch().id, random_gradient(step), f"g{step}")
        learner.step(learner.due())
    learner.settle()
    kept = sorted(path.name for path in run.directory.weights.glob("v*"))
    assert kept == ["v000000", "v000003", "v000006", "v000007"]
    assert not list(run.directory.gradients.iterdir())
    assert not list(run.directory.samples.iterdir())
