"""A learner that trains an adapter: what it begins with, steps, publishes, and continues from."""

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from ralo_core.cli.main import main
from ralo_core.config import LoraSettings
from ralo_core.errors import ConfigError, RaloError
from ralo_server.models.starting_adapter import chosen_layers
from ralo_server.models.version_files import damage
from ralo_server.rollback import roll_back

RANK, ALPHA = 3, 6.0
LAYERS = {"model.layers.0.attn.q_proj": (8, 6), "model.layers.1.attn.q_proj": (8, 6),
          "model.layers.0.mlp.up": (12, 6), "model.layers.1.mlp.up": (12, 6)}  # fmt: skip
OTHERS = {"model.embed.weight": (20, 6), "lm_head.weight": (20, 6),
          "model.layers.0.norm.weight": (6,), "model.layers.0.attn.q_proj.bias": (8,)}  # fmt: skip
SETTINGS = (f"lora.rank={RANK}", f"lora.alpha={ALPHA}", "trainer.batch_trees=1",
            "optimizer.adamw.lr=0.01", "evaluation.problems=0",
            "server.queued_trees=16")  # fmt: skip


def names_of(layer):
    return f"base_model.model.{layer}.lora_A.weight", f"base_model.model.{layer}.lora_B.weight"


@pytest.fixture
def base(tmp_path):
    """A model of two blocks in two files, in bfloat16."""
    folder = tmp_path / "base"
    folder.mkdir()
    torch.manual_seed(0)
    shapes = {**{f"{layer}.weight": shape for layer, shape in LAYERS.items()}, **OTHERS}
    tensors = {name: torch.randn(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    half = {name: name.startswith("model.layers.0") for name in tensors}
    index = {}
    for file, first in (("model-1.safetensors", True), ("model-2.safetensors", False)):
        part = {name: value for name, value in tensors.items() if half[name] == first}
        save_file(part, folder / file)
        index.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def lora(server, base):
    """Return a function that gives a run which trains an adapter of `base`."""

    def start(*settings, name="run"):
        return server(f"run.model={base}", *SETTINGS, *settings, name=name)

    return start


def step(run, learner, seed):
    """Take a step on a random gradient, which is returned."""
    rng, newest = np.random.default_rng(seed), run.store.versions.newest_number()
    shapes = learner.master.shapes()
    gradient = {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    run.fill(1)
    flat = {name: value.ravel() for name, value in gradient.items()}
    sent = run.send_gradient(run.batch().id, flat, f"g{newest}-{seed}", base_version=newest)
    assert sent.status_code == 200, sent.text
    learner.step(learner.due())
    return gradient


def adapter(run, version):
    return load_file(run.store.versions.directory(version) / "adapter_model.safetensors")


def test_an_adapter_begins_as_a_layer_of_torch_would_and_adds_nothing(lora):
    run = lora("run.seed=5")
    run.learner()
    tensors = adapter(run, 0)
    assert tensors.keys() == {name for layer in LAYERS for name in names_of(layer)}
    values = []
    for layer, (outputs, inputs) in LAYERS.items():
        down, up = (tensors[name] for name in names_of(layer))
        assert (down.shape, up.shape) == ((RANK, inputs), (outputs, RANK))
        assert down.dtype == torch.float32
        assert not up.any()
        values.append(down.flatten() * math.sqrt(inputs))
    # torch.nn.Linear, and peft: uniform within 1 / sqrt(inputs).
    together = torch.cat(values)
    assert together.abs().max() < 1
    assert together.std() == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert len(together.unique()) == len(together)
    same, other = (lora(f"run.seed={seed}", name=f"seed{seed}") for seed in (5, 6))
    for again, equal in ((same, True), (other, False)):
        again.learner()
        down = names_of("model.layers.0.mlp.up")[0]
        assert torch.equal(adapter(again, 0)[down], tensors[down]) == equal


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_steps_are_those_of_torch_on_the_adapter_alone(lora, dtype):
    run = lora(f"lora.dtype={dtype}", "optimizer.adamw.max_grad_norm=0")
    learner = run.learner()
    parameters = {
        name: torch.nn.Parameter(value.clone())
        for name, value in load_file(run.directory.adapter / "adapter_model.safetensors").items()
    }
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.0)
    for seed in range(4):
        for name, value in step(run, learner, seed).items():
            parameters[name].grad = torch.from_numpy(value)
        optimizer.step()
        for name, value in adapter(run, seed + 1).items():
            expected = parameters[name].detach().to(value.dtype)
            assert value.dtype == getattr(torch, dtype)
            torch.testing.assert_close(value, expected, rtol=1e-2 if dtype != "float32" else 1e-4,
                                       atol=1e-6)  # fmt: skip


def test_versions_share_the_files_of_the_model_and_differ_in_the_adapter(lora, base):
    run = lora()
    learner = run.learner()
    for seed in range(3):
        step(run, learner, seed)
    first, last = (run.store.versions.get(number) for number in (0, 3))
    changed = {file.name for file in last.files} - {f.name for f in last.files if f in first.files}
    assert changed == {"adapter_model.safetensors"}
    for name in ("model-1.safetensors", "model-2.safetensors"):
        paths = [run.store.versions.directory(number) / name for number in (0, 3)]
        assert paths[0].samefile(paths[1])
        assert not paths[0].samefile(base / name), "whoever saves over the model changes no run"
        assert paths[0].read_bytes() == (base / name).read_bytes()
    parts = run.store.parts
    for file in last.files:
        assert parts.find(file.sha256).path.is_file()
    assert not damage(run.store.versions.directory(3), last)
    assert json.loads((run.directory.weights / "parameters.json").read_text()).keys() == {
        name for layer in LAYERS for name in names_of(layer)
    }


def test_a_learner_that_died_goes_on_bit_for_bit(lora):
    straight, broken = lora(name="a"), lora(name="b")
    learner = straight.learner()
    for seed in range(5):
        step(straight, learner, seed)
    learner = broken.learner()
    for seed in range(3):
        step(broken, learner, seed)
    learner = broken.learner()  # the one before never came to close anything
    for seed in range(3, 5):
        step(broken, learner, seed)
    for name, value in adapter(straight, 5).items():
        assert torch.equal(adapter(broken, 5)[name], value)
    step(broken, learner, 9)
    version, _ = roll_back(broken.store, 5)
    assert version.number == 7
    step(broken, broken.learner(), 7)
    step(straight, straight.learner(), 7)
    for name, value in adapter(straight, 6).items():
        assert torch.equal(adapter(broken, 8)[name], value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["lora.targets=['q_proj','v_proj']"], "run.model has no v_proj; it has q_proj, up"),
        (["lora.targets=['lm_head']"], "run.model has no lm_head; it has q_proj, up"),
        (["lora.targets=['proj']"], "run.model has no proj; it has q_proj, up"),
        (["lora.rank=7"], r"lora.rank = 7 is larger than 4 layers, the first is .* \[8, 6\]"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused_before_anything_is_written(
    lora, tmp_path, settings, message
):
    with pytest.raises(ConfigError, match=message):
        lora(*settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["transposed", "no blocks", "adapter"])
def test_a_model_that_cannot_have_an_adapter_is_refused(lora, base, change):
    if change == "transposed":
        (base / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
        message = "adapters of a gpt2 model are not supported"
    elif change == "no blocks":
        (base / "model.safetensors.index.json").unlink()
        for file in base.glob("*.safetensors"):
            file.unlink()
        save_file({"embed.weight": torch.zeros(20, 6)}, base / "model.safetensors")
        message = "no linear layer within a numbered block"
    else:
        (base / "adapter_config.json").write_text("{}")
        message = "has an adapter beside it"
    with pytest.raises(RaloError, match=message):
        lora()


def test_targets_choose_by_the_end_of_the_name(lora):
    run = lora("lora.targets=['attn.q_proj']")
    run.learner()
    chosen = [layer for layer in LAYERS if layer.endswith("q_proj")]
    assert adapter(run, 0).keys() == {name for layer in chosen for name in names_of(layer)}
    config = json.loads((run.store.versions.directory(0) / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (RANK, ALPHA)
    assert config["target_modules"] == ["attn.q_proj"]


@pytest.mark.parametrize(
    "change", ["lora.rank=0", "lora.rank=2", "lora.alpha=7", "lora.targets=['up']",
               "lora.dtype=float16"]
)  # fmt: skip
def test_a_run_keeps_its_adapter(lora, change):
    lora()
    with pytest.raises(RaloError, match=r"\[lora\] cannot change"):
        lora(change)
    lora("lora.base_dtype=bfloat16")  # a trainer's matter


def test_a_run_of_the_whole_model_stays_one(make_run):
    make_run()
    with pytest.raises(RaloError, match="holds a run of the whole model"):
        make_run("lora.rank=2")


def test_an_export_is_the_merged_model_in_its_own_dtype_or_the_adapter(lora, base, tmp_path):
    run = lora("lora.dtype=bfloat16")
    learner = run.learner()
    for seed in range(2):
        step(run, learner, seed)
    root, merged = str(run.directory.root), tmp_path / "merged"
    assert "wrote version 2" in ralo("export", root, "-o", str(merged)).output
    factors, expected = adapter(run, 2), {}
    for file in ("model-1.safetensors", "model-2.safetensors"):
        expected[file] = load_file(base / file)
        for layer in LAYERS:
            name = f"{layer}.weight"
            if name in expected[file]:
                down, up = (factors[part].double() for part in names_of(layer))
                total = expected[file][name].double() + ALPHA / RANK * (up @ down)
                expected[file][name] = total.to(torch.bfloat16)
    for file, tensors in expected.items():
        found = load_file(merged / file)
        assert found.keys() == tensors.keys()
        for name, value in tensors.items():
            assert torch.equal(found[name], value), name
    assert {path.name for path in merged.iterdir()} == {path.name for path in base.iterdir()}
    ralo("export", root, "-o", str(tmp_path / "one"), "--adapter", "--version", "1")
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    exported = load_file(tmp_path / "one" / "adapter_model.safetensors")
    assert all(torch.equal(value, adapter(run, 1)[name]) for name, value in exported.items())


def test_an_export_of_a_whole_model_is_the_version(server, tmp_path):
    run = server()
    run.learner()
    root = str(run.directory.root)
    ralo("export", root, "-o", str(tmp_path / "out"))
    for file in run.store.versions.get(0).files:
        source = run.store.versions.directory(0) / file.name
        assert (tmp_path / "out" / file.name).read_bytes() == source.read_bytes()
    assert not (tmp_path / "out" / "manifest.json").exists()
    for arguments, message in (
        (("--adapter",), "this run trains the whole model"),
        (("--version", "4"), "there is no version 4; kept are 0"),
        ((), "exists: give a directory that is not there yet"),
    ):
        target = tmp_path / ("new" if arguments else "out")
        failed = ralo("export", root, "-o", str(target), *arguments, code=1)
        assert message in failed.output
    damaged = run.store.versions.directory(0) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    failed = ralo("export", root, "-o", str(tmp_path / "new"), code=1)
    assert "version 0 is not whole" in failed.output


def ralo(*arguments, code=0):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    return done


def test_an_adapter_of_a_7b_model_is_megabytes(tmp_path):
    """The shapes of Qwen2.5-7B, in a file of holes; the sum is by hand, as docs/lora.md has it."""
    hidden, keys, inner, blocks = 3584, 512, 18944, 28
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (keys, hidden),
              "self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, hidden),
              "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
              "mlp.down_proj": (hidden, inner)}  # fmt: skip
    entries, end = {}, 0
    for block in range(blocks):
        for name, shape in shapes.items():
            start, end = end, end + 2 * math.prod(shape)
            entries[f"model.layers.{block}.{name}.weight"] = {
                "dtype": "BF16", "shape": shape, "data_offsets": [start, end]
            }  # fmt: skip
    header = json.dumps(entries).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    (tmp_path / "config.json").write_text("{}")
    layers = chosen_layers(tmp_path, LoraSettings(rank=16))
    assert sum(16 * (outputs + inputs) for outputs, inputs in layers.values()) == 40_370_176
    two = chosen_layers(tmp_path, LoraSettings(rank=16, targets=["q_proj", "v_proj"]))
    assert sum(16 * (outputs + inputs) for outputs, inputs in two.values()) == 5_046_272
