"""The sliced step against torch's optimizers on whole tensors, and the files it leaves."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from ralo_core.errors import RaloError
from ralo_server.learner.publish.tensor_file import NewTensorFile, layout_of, open_tensors
from ralo_server.learner.state.master_state import MasterState
from ralo_server.learner.state.state_files import open_model, open_state
from ralo_server.learner.step.times import StepTimes
from ralo_server.optimizers.adamw import AdamW
from ralo_server.optimizers.lion import Lion
from ralo_server.optimizers.settings import AdamWSettings, LionSettings, SgdSettings
from ralo_server.optimizers.sgd import Sgd
from ralo_server.store.step_log import StepLog

torch.set_num_threads(1)

SHAPES = {"a": (13, 7), "b": (5,), "c": (), "d": (3, 2, 4)}
FACTORIES = {
    "adamw": lambda: AdamW(AdamWSettings(lr=0.01, weight_decay=0.1), None),
    "sgd": lambda: Sgd(SgdSettings(lr=0.1), None),
    "momentum": lambda: Sgd(SgdSettings(lr=0.1, momentum=0.9, nesterov=True), None),
    "lion": lambda: Lion(LionSettings(lr=0.01, warmup_steps=3, max_grad_norm=0.0), None),
}


def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def norm_of(gradient):
    return float(torch.cat([value.flatten() for value in gradient.values()]).norm())


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    constants = {"ids": torch.arange(6), "flags": torch.tensor([True, False])}
    save_file({**tensors(0), **constants}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))
    return folder


def sliced(model, factory, slice_values):
    return MasterState(open_model(model), factory, slice_values)


def advance(master, folder, step, gradient, factory):
    """Take a step of `master`; into `folder`, unless it steps in place."""

    def begin():
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    norm = norm_of(gradient)
    redo = StepLog(
        step=step, weighted_gradients=(), learning_rate=factory.learning_rate(step),
        clip=min(1.0, factory.max_grad_norm / norm) if factory.max_grad_norm else 1.0,
    )  # fmt: skip

    def values(name, start, stop):
        return gradient[name].view(-1)[start:stop]

    with master.step(values, redo, begin, StepTimes()) as new:
        for _ in new:
            pass


def weights_of(master):
    return torch.cat([values.float() for values in master.weights()])


def steps(master, root, count, factory, first=1, every=1):
    """Take `count` steps; every so many the files are left, and the next step makes new ones."""
    for step in range(first, first + count):
        advance(master, root / f"step-{step}", step, tensors(step), factory)
        if step % every == 0:
            master.release_files()
    return master


@pytest.mark.parametrize("every", [1, 3, 9])
@pytest.mark.parametrize("slice_values", [4, 7, 1000])
@pytest.mark.parametrize("name", FACTORIES)
def test_sliced_steps_are_those_of_torch_on_whole_tensors(
    model, tmp_path, name, slice_values, every
):
    factory = FACTORIES[name]()
    master = steps(sliced(model, factory, slice_values), tmp_path, 6, factory, every=every)
    assert len(list(tmp_path.glob("step-*"))) == -(-6 // every)
    parameters = {name: torch.nn.Parameter(value) for name, value in tensors(0).items()}
    optimizer = factory.build(parameters.items())
    for step in range(1, 7):
        for key, value in tensors(step).items():
            parameters[key].grad = value
        if factory.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(parameters.values(), factory.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = factory.learning_rate(step)
        optimizer.step()
    whole = torch.cat([parameters[key].detach().flatten() for key in sorted(parameters)])
    torch.testing.assert_close(weights_of(master), whole, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", FACTORIES)
def test_going_on_from_the_files_is_going_on(model, tmp_path, name, every):
    factory = FACTORIES[name]()
    straight = steps(sliced(model, factory, 7), tmp_path / "straight", 5, factory, every=9)
    steps(sliced(model, factory, 7), tmp_path / "first", 3, factory, every=every)
    last = max((tmp_path / "first").iterdir())
    resumed = steps(
        MasterState(open_state(last), factory, 7), tmp_path / "second", 2, factory, first=4
    )
    assert torch.equal(weights_of(straight), weights_of(resumed))


def test_files_of_a_step_are_plain_safetensors_and_the_old_ones_stay(model, tmp_path):
    factory = FACTORIES["adamw"]()
    master = steps(sliced(model, factory, 7), tmp_path, 1, factory)
    before = {path: path.read_bytes() for path in (tmp_path / "step-1").iterdir()}
    advance(master, tmp_path / "step-2", 2, tensors(2), factory)
    advance(master, tmp_path / "step-2", 3, tensors(3), factory)
    assert before == {path: path.read_bytes() for path in (tmp_path / "step-1").iterdir()}
    stored = load_file(tmp_path / "step-2" / "master.safetensors")
    assert {name: tuple(stored[name].shape) for name in SHAPES} == SHAPES
    assert stored["ids"].tolist() == list(range(6))
    assert stored["flags"].tolist() == [True, False]
    state = load_file(tmp_path / "step-2" / "state.safetensors")
    assert state["a/step"] == 3
    assert state["d/exp_avg"].shape == SHAPES["d"]


def test_a_spare_folder_is_overwritten_unless_its_files_have_another_name(model, tmp_path):
    factory = FACTORIES["adamw"]()
    master = steps(sliced(model, factory, 7), tmp_path, 2, factory)
    kept = tmp_path / "kept"
    os.link(tmp_path / "step-1" / "master.safetensors", kept)
    content = kept.read_bytes()
    inode = (tmp_path / "step-1" / "state.safetensors").stat().st_ino
    advance(master, tmp_path / "step-1", 3, tensors(3), factory)
    assert kept.read_bytes() == content
    assert (tmp_path / "step-1" / "state.safetensors").stat().st_ino == inode
    straight = steps(sliced(model, factory, 7), tmp_path / "new", 3, factory)
    assert torch.equal(weights_of(master), weights_of(straight))


def test_another_optimizer_is_refused_with_what_to_do(model, tmp_path):
    steps(sliced(model, FACTORIES["adamw"](), 7), tmp_path, 1, FACTORIES["adamw"]())
    with pytest.raises(RaloError, match=r"keeps exp_avg, exp_avg_sq, step, .* needs exp_avg;"):
        MasterState.restore(tmp_path / "step-1", FACTORIES["lion"]())


def test_half_precision_models_are_trained_in_fp32(model, tmp_path):
    save_file(
        {name: value.to(torch.bfloat16) for name, value in tensors(0).items()},
        model / "model.safetensors",
    )
    master = steps(sliced(model, FACTORIES["adamw"](), 7), tmp_path, 1, FACTORIES["adamw"]())
    assert {value.dtype for value in master.weights()} == {torch.float32}
    assert (weights_of(master) != weights_of(master).bfloat16().float()).any()


def test_a_tied_head_that_was_exported_twice_is_not_trained_twice(model):
    (model / "config.json").write_text(json.dumps({"tie_word_embeddings": True}))
    save_file({"embed": torch.ones(2), "lm_head.weight": torch.ones(2)}, model / "more.safetensors")
    shapes = MasterState.of_model(model, FACTORIES["sgd"]()).shapes()
    assert "embed" in shapes
    assert "lm_head.weight" not in shapes


class Replacing(torch.optim.Optimizer):
    """Momentum that makes a new state tensor every step, and counts in a Python number."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                momentum = state.get("momentum", torch.zeros_like(parameter))
                state["momentum"] = 0.9 * momentum + parameter.grad
                state["count"] = int(state.get("count", 0)) + 1
                parameter.sub_(state["momentum"], alpha=group["lr"] / state["count"])


class ReplacingPolicy:
    max_grad_norm = None

    def build(self, named_parameters):
        return Replacing([parameter for _, parameter in named_parameters], {"lr": 0.1})

    def learning_rate(self, step):
        return 0.1


@pytest.mark.parametrize("every", [1, 9])
def test_state_that_is_replaced_or_a_python_number_is_kept(model, tmp_path, every):
    master = steps(sliced(model, ReplacingPolicy(), 4), tmp_path, 4, ReplacingPolicy(), every=every)
    reference = {name: value.clone() for name, value in tensors(0).items()}
    momenta = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for step in range(1, 5):
        for name, gradient in tensors(step).items():
            momenta[name] = 0.9 * momenta[name] + gradient
            reference[name] -= 0.1 / step * momenta[name]
    expected = torch.cat([reference[name].flatten() for name in sorted(reference)])
    torch.testing.assert_close(weights_of(master), expected)


class RowwisePolicy(ReplacingPolicy):
    def build(self, named_parameters):
        class Rowwise(Replacing):
            def step(self, closure=None):
                for group in self.param_groups:
                    for parameter in group["params"]:
                        self.state[parameter]["rows"] = torch.zeros(9)

        return Rowwise([parameter for _, parameter in named_parameters], {"lr": 0.1})


class EagerPolicy(ReplacingPolicy):
    def build(self, named_parameters):
        return torch.optim.Adagrad([parameter for _, parameter in named_parameters])


@pytest.mark.parametrize(
    ("factory", "message"),
    [(RowwisePolicy(), "state 'rows'.*must be elementwise"), (EagerPolicy(), "in its first step")],
)
def test_an_optimizer_that_cannot_be_sliced_is_refused(model, factory, message):
    with pytest.raises(RaloError, match=message):
        sliced(model, factory, 7)


def test_a_cut_file_is_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    NewTensorFile(path, {"a": (torch.float32, (4, 4)), "empty": (torch.float32, (0, 3))}).close()
    assert open_tensors(path)["empty"].shape == (0, 3)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(RaloError, match="not a whole safetensors file"):
        open_tensors(path)


def test_a_full_disk_is_an_error_with_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RaloError, match="the disk has no room.*keep_last_versions"):
        NewTensorFile(tmp_path / "t.safetensors", {"a": (torch.float32, (4,))})


def test_layouts_are_what_safetensors_writes(tmp_path):
    values = {"n": torch.arange(3), "w": torch.randn(2, 5), "h": torch.randn(7).bfloat16()}
    save_file(values, tmp_path / "theirs", {"format": "pt"})
    for name, value in open_tensors(tmp_path / "theirs").items():
        assert torch.equal(value, values[name])
    specs = {name: (value.dtype, tuple(value.shape)) for name, value in values.items()}
    ours = NewTensorFile(tmp_path / "ours", specs)
    for name, value in values.items():
        ours.write(name, 0, value)
    ours.close()
    assert (tmp_path / "ours").stat().st_size == layout_of(specs).size
    for name, value in load_file(tmp_path / "ours").items():
        assert torch.equal(value, values[name])


MEMORY = """
import sys
from pathlib import Path
import torch
from ralo_server.learner.state.master_state import MasterState
from ralo_server.learner.step.times import StepTimes
from ralo_server.optimizers.adamw import AdamW
from ralo_server.optimizers.settings import AdamWSettings
from ralo_server.store.step_log import StepLog
torch.set_num_threads(1)

def anonymous():
    rows = Path("/proc/self/status").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("RssAnon")).split()[1]) * 1024

root = Path(sys.argv[1])
factory = AdamW(AdamWSettings(lr=0.01), None)
most = 0
master = MasterState.of_model(root / "model", factory)
redo = StepLog(step=1, weighted_gradients=(), learning_rate=0.01, clip=1.0)
gradient = torch.ones(1 << 20)
(root / "1").mkdir()
for step in (1, 2, 3):
    ones = lambda _, start, stop: gradient[: stop - start]
    with master.step(ones, redo, lambda: root / "1", StepTimes()) as new:
        for _ in new:
            most = max(most, anonymous())
print(most)
"""


def peak_of_a_step(model, root, values):
    """Return the anonymous memory of three steps, two of them in place, on a model of so many
    values, in bytes."""
    save_file({"w": torch.zeros(values, dtype=torch.bfloat16)}, model / "model.safetensors")
    command = [sys.executable, "-c", MEMORY, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(root / "1")
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_model(model, tmp_path):
    small, large = (peak_of_a_step(model, tmp_path, values << 20) for values in (1, 17))
    # Master weights and moments of the difference are 12 bytes per value: 192 MiB.
    assert large - small < 32 << 20
