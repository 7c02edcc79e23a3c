"""The deltas beside the versions: when there is one, what it says, what a chain of them is."""

import json
import os
import shutil
from types import SimpleNamespace

import attrs
import pytest
import torch
from safetensors.torch import load_file

from ralo_core.data import WeightDelta, WeightFile, WeightVersion
from ralo_core.deltas import DeltaFile
from ralo_server.learner.publish.publisher import Publisher
from ralo_server.models.delta_chains import chain_from
from ralo_server.models.version_files import MANIFEST, damage, read_manifest

SHAPES = {"a": (40, 50), "b": (3000,)}
CONSTANTS = {"ids": torch.arange(5), "flags": torch.tensor([True, False])}


def weights(seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    tensors = {n: torch.randn(shape, generator=generator) * 0.02 for n, shape in SHAPES.items()}
    return {name: value + shift for name, value in tensors.items()}


@pytest.fixture
def publish(tmp_path):
    """Return a function that publishes version `number` beside the others."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "config.json").write_text("{}")

    def write(number, tensors, constants=CONSTANTS, slice_values=700, **options):
        publisher = Publisher(tmp_path / "files", torch.bfloat16, **options)
        slices = [
            part for value in tensors.values() for part in value.reshape(-1).split(slice_values)
        ]
        folder = tmp_path / f"v{number}"
        parent = tmp_path / f"v{number - 1}" if number else None
        version = publisher.write(
            folder, number, SHAPES, slices, constants, step=number, parent=parent
        )
        return folder, version

    return write


def test_the_delta_says_what_changed_in_which_tensor(publish):
    before, after = weights(0), weights(0)
    after["b"][::100] += 1e-3
    publish(0, before)
    folder, version = publish(1, after)
    (delta,) = version.deltas
    assert (delta.base, delta.file.name) == (0, "from-000000.delta")
    assert damage(folder, version) == ""
    header = DeltaFile(folder / delta.file.name).header
    assert (header.base, header.base_sha256, header.sha256) == (
        0, delta.base_sha256, version.sha256,
    )  # fmt: skip
    assert {name: change.changed for name, change in header.tensors.items()} == {"b": 30}
    assert not [path for path in folder.parent.iterdir() if path.suffix == ".part"]


def test_constants_are_in_the_weights_and_not_in_the_delta(publish):
    publish(0, weights(0))
    folder, version = publish(1, weights(0, 1e-4))
    assert set(DeltaFile(folder / version.deltas[0].file.name).header.tensors) == {"a", "b"}
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in CONSTANTS.items())


def test_a_version_without_any_change_has_an_empty_delta(publish):
    publish(0, weights(0))
    folder, version = publish(1, weights(0))
    assert not DeltaFile(folder / version.deltas[0].file.name).header.tensors


@pytest.mark.parametrize(
    "spoil",
    [
        lambda publish, v0: (v0 / MANIFEST).unlink(),
        lambda publish, v0: (v0 / MANIFEST).write_text("{}"),
        lambda publish, v0: (v0 / "model.safetensors").unlink(),
        lambda publish, v0: os.truncate(v0 / "model.safetensors", 9000),
        lambda publish, v0: shutil.rmtree(v0),
        lambda publish, v0: publish(0, weights(0), shard_bytes=4100),
        lambda publish, v0: publish(0, weights(0), {"ids": torch.arange(1, 6)}),
        lambda publish, v0: publish(0, weights(0), {**CONSTANTS, "ids": torch.arange(1, 6)}),
        lambda publish, v0: publish(0, weights(7, 0.5)),
    ],
)
def test_without_a_fitting_or_a_similar_parent_there_is_no_delta(publish, spoil):
    folder, _ = publish(0, weights(0))
    spoil(publish, folder)
    folder, version = publish(1, weights(0, 1e-4))
    assert version.deltas == ()
    assert not list(folder.glob("*.delta"))
    assert damage(folder, version) == "", "the version itself is whole"


def test_a_damaged_delta_is_a_damaged_version(publish):
    publish(0, weights(0))
    folder, version = publish(1, weights(0, 1e-4))
    (folder / version.deltas[0].file.name).unlink()
    assert damage(folder, version) == "from-000000.delta is gone"


def test_the_manifest_is_compared_field_by_field(publish):
    folder, version = publish(0, weights(0))
    assert read_manifest(folder) == version
    manifest = json.loads((folder / MANIFEST).read_text())
    for change in ({"step": 7}, {"tensors": {"a": {}}}, {"unknown": 1}, {"files": []}):
        (folder / MANIFEST).write_text(json.dumps({**manifest, **change}))
        assert damage(folder, version) == "manifest.json is not that of this version"
    del manifest["tensors"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert damage(folder, version) == "", "versions of before had none"


def versions(*bases, size=100, weights=1000):
    """Versions 0, 1, ... of which each has a delta from its base, None for none."""
    made = {}
    for number, base in enumerate(bases):
        file = WeightFile(name=f"from-{base}", size=size, sha256="")
        deltas = () if base is None else (WeightDelta(base=base, base_sha256="", file=file),)
        files = (WeightFile(name="w", size=weights, sha256=""),)
        made[number] = WeightVersion(
            number=number, parent=None, sha256="", files=files, created=0.0, deltas=deltas
        )
    return SimpleNamespace(get=made.get, all=made)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, [1]), (0, 3, [1, 2, 3]), (2, 3, [3]), (3, 3, []), (3, 2, []), (4, 6, []), (5, 6, [6])],
)
def test_a_chain_leads_from_one_version_to_another(start, end, expected):
    known = versions(None, 0, 1, 2, 3, None, 5)
    links = chain_from(known, start, known.get(end))
    assert [link.version for link in links] == expected


def test_a_chain_needs_the_versions_between_but_not_the_first():
    known = versions(None, 0, 1, 2)
    del known.all[0]
    assert len(chain_from(known, 0, known.get(3))) == 3
    del known.all[1]
    assert chain_from(known, 0, known.get(3)) == ()


def test_a_chain_is_shorter_than_the_version():
    known = versions(None, 0, 1, 2, size=300)
    assert len(chain_from(known, 0, known.get(3))) == 3
    file = attrs.evolve(known.get(3).files[0], size=900)
    assert chain_from(known, 0, attrs.evolve(known.get(3), files=(file,))) == ()
