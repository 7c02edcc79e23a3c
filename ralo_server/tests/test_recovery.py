"""A learner that dies between checkpoints: its state comes back bit for bit, or it says so."""

import json
import shutil
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from upload_runs import states

from ralo_core.errors import RaloError
from ralo_core.plugins import PluginHost
from ralo_server.learner.loop import Learner
from ralo_server.store.versions import Origin

torch.set_num_threads(1)

RATE, STEPS, PARTS = 0.01, 7, 3
SETTINGS = (
    "trainer.batch_trees=1", f"learner.gradients_per_step={PARTS}", "learner.checkpoint_every=4",
    "aggregation.use=staleness_mean", "aggregation.staleness_mean.max_staleness=1",
    "server.queued_trees=16", "server.pending_gradients=8",
)  # fmt: skip
OPTIMIZERS = {
    "adamw": ("optimizer.adamw.lr=0.01", "optimizer.adamw.weight_decay=0.1"),
    "sgd": ("optimizer.sgd.lr=0.01", "optimizer.sgd.momentum=0.9"),
    "lion": ("optimizer.lion.lr=0.01", "optimizer.lion.weight_decay=0.1"),
}


class HandLion:
    """Lion as its paper writes it (Chen et al. 2023, algorithm 2)."""

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self):
        for parameter, momentum in zip(self.parameters, self.momenta, strict=True):
            direction = torch.sign(0.9 * momentum + 0.1 * parameter.grad)
            parameter -= RATE * (direction + 0.1 * parameter)
            momentum.copy_(0.99 * momentum + 0.01 * parameter.grad)


REFERENCES = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.1),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=RATE, momentum=0.9),
    "lion": HandLion,
}


def send(run, gradient, name, base, **metrics):
    run.fill(1)
    answer = run.send_gradient(
        run.batch().id, gradient, name, base_version=base, metrics={"loss": 0.5, **metrics}
    )
    assert answer.json["accepted"], answer.json


def seed_of(step, part):
    return 10 * step + part


def send_step(run, random_gradient, step):
    """Send the gradients of a step; the last one is too old from step 3 on and is left out."""
    for part in range(PARTS):
        base = max(0, step - 3) if part == PARTS - 1 else step - 1
        send(run, random_gradient(seed_of(step, part)), f"g{step}-{part}", base)


def weights_of(run, version):
    return load_file(run.store.versions.directory(version) / "model.safetensors")


def restarted(run, dead):
    """Return a learner that continues where `dead` ended; no component may be asked about the past.

    A checkpoint that `dead` had begun comes to its end first: killed, nothing would write on.
    """
    dead.checkpoints._thread.shutdown()

    def nobody_asks(*_):
        raise AssertionError

    learner = Learner(run.store, PluginHost())
    weigh, optimizer = learner.aggregator.weigh, learner.optimizer_factory
    rate, factor = optimizer.learning_rate, optimizer.rate_factor
    learner.aggregator.weigh = optimizer.learning_rate = optimizer.rate_factor = nobody_asks
    learner.open()
    learner.aggregator.weigh, optimizer.learning_rate, optimizer.rate_factor = weigh, rate, factor
    return learner


def finished_state(run, learner):
    """Return the bytes of everything that a run of `learner` leaves of weights and state."""
    learner.finish()
    folder = run.directory.optimizer / run.store.versions.newest_origin().checkpoint
    weights = run.store.versions.directory(run.store.versions.newest_number())
    files = [*folder.iterdir(), weights / "model.safetensors"]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restart_after_any_step_gives_the_state_of_an_uninterrupted_run(
    server, random_gradient, name
):
    outcomes = []
    for restart in (False, True):
        run = server(*SETTINGS, f"optimizer.use={name}", *OPTIMIZERS[name], f"run.name={restart}")
        learner = run.learner()
        for step in range(1, STEPS + 1):
            send_step(run, random_gradient, step)
            learner.step(learner.due())
            if restart:
                learner = restarted(run, learner)
        assert run.store.versions.newest_number() == STEPS, "nothing but the steps is published"
        outcomes.append(finished_state(run, learner))
        if not restart:
            shutil.rmtree(run.directory.root)
    assert outcomes[0] == outcomes[1]
    assert [states(run)[f"g{step}-2"] for step in (2, 3, 7)] == ["applied", "left_out", "left_out"]
    expected = reference(weights_of(run, 0), random_gradient, name)
    for key, value in weights_of(run, STEPS).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-6)


def reference(weights, random_gradient, name):
    """Return the weights after the steps, by torch or by hand."""
    parameters = {key: torch.nn.Parameter(value) for key, value in weights.items()}
    optimizer = REFERENCES[name](parameters.values())
    for step in range(1, STEPS + 1):
        lags = [0, 0, min(step - 1, 2)]
        kept = [(part, 1.0 / (1 + lag)) for part, lag in enumerate(lags) if lag <= 1]
        for key, parameter in parameters.items():
            terms = [
                weight * torch.from_numpy(random_gradient(seed_of(step, part))[key]).double()
                for part, weight in kept
            ]
            mean = sum(terms) / sum(weight for _, weight in kept)
            parameter.grad = mean.float().view(parameter.shape)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
    return {key: parameter.data for key, parameter in parameters.items()}


def test_a_scaled_step_is_taken_again_with_the_rate_that_was_used(server, random_gradient):
    """VCPO: AdamW at lr times the root of what the gradients applied say, weight by weight."""
    shares = [(0.25, 0.04), (1.0, 1.0), (0.09, 0.36)]
    outcomes = []
    for restart in (False, True):
        run = server(
            "trainer.batch_trees=1", "learner.gradients_per_step=2", "optimizer.adamw.lr=0.01",
            "optimizer.adamw.ess_scaling=sqrt", f"run.name={restart}",
        )  # fmt: skip
        learner = run.learner()
        parameters = {name: torch.nn.Parameter(value) for name, value in weights_of(run, 0).items()}
        optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.0)
        for step, pair in enumerate(shares, 1):
            gradients = [random_gradient(seed_of(step, part)) for part in range(2)]
            for part, share in enumerate(pair):
                send(run, gradients[part], f"g{step}-{part}", step - 1, sequence_ess=share)
            learner.step(learner.due())
            rate = 0.01 * (sum(pair) / 2) ** 0.5
            assert metrics_of(run)[-1]["learning_rate"] == pytest.approx(rate, rel=1e-12)
            for key, parameter in parameters.items():
                mean = sum(torch.from_numpy(gradient[key]) for gradient in gradients) / 2
                parameter.grad = mean.view(parameter.shape)
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            if restart:
                learner = restarted(run, learner)
        for key, value in weights_of(run, 3).items():
            torch.testing.assert_close(value, parameters[key].data, rtol=1e-6, atol=1e-7)
        outcomes.append(finished_state(run, learner))
        if not restart:
            shutil.rmtree(run.directory.root)
    assert outcomes[0] == outcomes[1]


def metrics_of(run):
    rows = run.store.database.rows("SELECT metrics FROM steps ORDER BY step")
    return [json.loads(row["metrics"]) for row in rows]


@pytest.fixture
def interrupted(server, random_gradient):
    """A run whose learner died after two steps in place."""
    run = server("trainer.batch_trees=1", "optimizer.use=sgd", "optimizer.sgd.lr=0.1")
    learner = run.learner()
    for step in (1, 2, 3):
        send(run, random_gradient(step), f"g{step}", step - 1)
        learner.step(learner.due())
    return run


def start_elsewhere(run):
    """Start on a machine whose arithmetic is another."""
    learner = Learner(run.store, PluginHost())
    combine = learner.aggregator.combine
    learner.aggregator.combine = lambda *terms: combine(*terms) * np.float32(1 + 1e-5)
    learner.open()
    return learner


def test_a_state_that_comes_out_differently_is_published_as_a_version_of_its_own(
    interrupted, random_gradient, caplog
):
    run = interrupted
    published = (run.store.versions.directory(3) / "model.safetensors").read_bytes()
    learner = start_elsewhere(run)
    assert "steps [1, 2, 3], taken again from checkpoint ''" in caplog.text
    assert run.store.versions.newest_number() == 4
    assert (run.store.versions.directory(3) / "model.safetensors").read_bytes() == published
    before, after = weights_of(run, 3), weights_of(run, 4)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, value in after.items():
        torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-4)
    master = torch.cat([values.flatten() for values in learner.master.weights()])
    assert torch.equal(master, torch.cat([after[name].flatten() for name in sorted(after)]))
    start_elsewhere(run)
    assert run.store.versions.newest_number() == 4, "it is the newest version now"


def test_the_run_goes_on_from_a_state_that_came_out_differently(interrupted, random_gradient):
    run = interrupted
    learner = start_elsewhere(run)
    learner.finish()
    kept = {entry.version.number: entry.origin for entry in run.store.versions.kept()}
    assert kept[4].checkpoint == "v000004"
    assert kept[3].replay == (1, 2, 3), "the checkpoint is not the state of the version before it"
    learner = run.learner()
    send(run, random_gradient(4), "g4", 4)
    learner.step(learner.due())
    assert (run.store.versions.newest_number(), run.store.run.step()) == (5, 4)


def test_with_a_damaged_gradient_there_is_no_start(interrupted):
    path = interrupted.directory.gradients / "g2.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RaloError, match=r"g2.safetensors .* another digest.*ralo rollback"):
        interrupted.learner()
    assert interrupted.store.versions.newest_number() == 3


def test_without_a_gradient_that_is_needed_there_is_no_start(interrupted):
    (interrupted.directory.gradients / "g2.safetensors").unlink()
    with pytest.raises(RaloError, match=r"g2.safetensors of step 2 is gone.*ralo rollback"):
        interrupted.learner()


def test_what_lies_in_the_working_copy_is_not_trusted(interrupted, random_gradient):
    run = interrupted
    for path in (run.directory.working / "state").iterdir():
        path.write_bytes(b"\0" * path.stat().st_size)
    learner = run.learner()
    assert run.store.versions.newest_number() == 3
    send(run, random_gradient(4), "g4", 3)
    learner.step(learner.due())
    change = sum(
        float((value - weights_of(run, 3)[name]).square().sum())
        for name, value in weights_of(run, 4).items()
    )
    assert change**0.5 == pytest.approx(0.1, rel=1e-4), "lr times the norm that it was clipped to"


def test_steps_are_taken_and_committed_while_a_checkpoint_is_on_its_way(server, random_gradient):
    run = server("trainer.batch_trees=1", "learner.checkpoint_every=2", "optimizer.adamw.lr=0.01")
    learner, disk = run.learner(), threading.Event()
    learner.checkpoints._thread.submit(disk.wait)  # the disk is busy, the checkpoint waits
    for step in (1, 2, 3):
        send(run, random_gradient(step), f"g{step}", step - 1)
        learner.step(learner.due())
    assert run.store.versions.newest_origin() == Origin(replay=(1, 2, 3))
    disk.set()
    learner.settle()
    origins = [entry.origin for entry in run.store.versions.kept()][1:]
    assert origins == [
        Origin(replay=(1,)), Origin(checkpoint="v000002"), Origin(checkpoint="v000002", replay=(3,))
    ]  # fmt: skip
    restarted(run, learner)
    assert run.store.versions.newest_number() == 3, "what the checkpoint leads to is version 3"


def test_a_log_that_grows_large_beside_the_state_makes_a_checkpoint_due(server, random_gradient):
    run = server(
        "trainer.batch_trees=1", "learner.gradients_per_step=12", "learner.keep_last_versions=1",
        "server.queued_trees=16", "server.pending_gradients=16", "evaluation.problems=0",
        "learner.checkpoint_every=100",
    )  # fmt: skip
    learner, logged = run.learner(), []
    for step in (1, 2, 3, 4):
        for number in range(12):
            send(run, random_gradient(number), f"g{step}-{number}", step - 1)
        learner.step(learner.due())
        learner.settle()
        state = learner.files.folders.working / "state"
        size = sum(path.stat().st_size for path in run.directory.gradients.iterdir())
        logged.append((size, state.exists() and learner.files.folders.working_size()))
    assert run.store.versions.newest_origin().checkpoint
    assert all(not bound or size <= 4 * bound for size, bound in logged)
    assert max(size for size, _ in logged) > 0


@pytest.mark.parametrize(("gradients", "kept"), [(1, False), (2, True)])
def test_only_several_gradients_are_combined_into_a_file(server, random_gradient, gradients, kept):
    run = server("trainer.batch_trees=1", f"learner.gradients_per_step={gradients}")
    learner = run.learner()
    for number in range(gradients):
        send(run, random_gradient(number), f"g{number}", 0)
    learner.step(learner.due())
    assert learner.files.folders.combined.exists() == kept


def test_an_optimizer_that_does_not_scale_its_steps_is_not_asked_to(server, random_gradient):
    class Plain:
        """The protocol and no more."""

        max_grad_norm = 1.0

        def build(self, named_parameters):
            raise AssertionError

        def learning_rate(self, step):
            raise AssertionError

    run = server("trainer.batch_trees=1", "optimizer.adamw.lr=0.01")
    learner = run.learner()
    learner.optimizer_factory = Plain()
    send(run, random_gradient(0), "g1", 0, sequence_ess=0.25)
    learner.step(learner.due())
    assert metrics_of(run)[-1]["learning_rate"] == 0.01
