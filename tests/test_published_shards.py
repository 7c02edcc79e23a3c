"""A version of several weights files is a Hugging Face model like any other."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.loop import Learner
from ralo_server.models.version_files import damage
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, tmp_path):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=5000, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=request.param,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    return model


def publish(root, shard_mb):
    settings = [f"run.model={root / 'model'}", f"learner.shard_mb={shard_mb}"]
    config = resolve([set_layer(settings)], Registry(PluginHost().load()))
    directory = RunDirectory(root / "run")
    prepare(directory, config, "test")
    store = Store(directory, config)
    Learner(store, PluginHost()).open()
    return store.versions.newest(), store.versions.directory(0)


def test_transformers_opens_the_shards(model, tmp_path):
    version, folder = publish(tmp_path, 1)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert {file.name for file in version.files} >= {*shards, "model.safetensors.index.json"}
    loaded, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not any(report.values()), report
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_every_tensor_is_in_one_file_of_at_most_a_megabyte_or_alone(model, tmp_path):
    version, folder = publish(tmp_path, 1)
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    there, size = {}, 0
    for name in set(weight_map.values()):
        with safe_open(folder / name, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        nbytes = sum(value.nbytes for value in tensors.values())
        assert nbytes <= 1 << 20 or len(tensors) == 1
        there.update({key: (name, value) for key, value in tensors.items()})
        size += nbytes
    assert {key: name for key, (name, _) in there.items()} == weight_map
    total = json.loads((folder / "model.safetensors.index.json").read_text())["metadata"]
    assert total["total_size"] == size
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["tensors"] == {
        key: {"dtype": "BF16", "shape": list(value.shape), "file": name}
        for key, (name, value) in there.items()
    }
    assert (manifest["sha256"], manifest["step"], manifest["parent"]) == (version.sha256, 0, None)
    assert damage(folder, version) == ""


def test_one_file_is_enough_where_it_fits(model, tmp_path):
    version, folder = publish(tmp_path, 1024)
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert version.find("model.safetensors.index.json") is None
    AutoModelForCausalLM.from_pretrained(folder)
