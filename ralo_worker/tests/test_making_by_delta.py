"""Which way a version is made of another, and that a delta that does not fit is refused."""

import hashlib
import tempfile
import tracemalloc

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from ralo_core import DeltaLink, WeightDelta, WeightFile, WeightVersion
from ralo_core.deltas import DeltaFile, DeltaWriter
from ralo_core.errors import ServerError, WireError
from ralo_worker.weights.deltas import Plan, apply, make_from_present, plan
from ralo_worker.weights.patching import patched


def version(number, sha256, base=None, base_sha256="", files=()):
    file = WeightFile(name=f"from-{base}", size=1, sha256="")
    deltas = () if base is None else (WeightDelta(base=base, base_sha256=base_sha256, file=file),)
    return WeightVersion(
        number=number, parent=None, sha256=sha256, files=tuple(files), created=0.0, deltas=deltas
    )


def no_chain(start, end):
    raise AssertionError("the server is asked only where it may know a way")


def present(tmp_path, *held):
    return {tmp_path / str(number): version(number, sha256) for number, sha256 in held}


A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


def test_what_has_the_same_content_is_taken(tmp_path):
    way = plan(version(7, A), present(tmp_path, (5, B), (3, A)), no_chain)
    assert way == Plan(tmp_path / "3", ())


def test_a_delta_whose_base_is_here_is_taken_whatever_its_number(tmp_path):
    wanted = version(7, A, 6, B)
    way = plan(wanted, present(tmp_path, (5, C), (2, B)), no_chain)
    assert way.base == tmp_path / "2"
    assert way.links == (DeltaLink(version=7, delta=wanted.deltas[0]),)


def test_a_chain_is_asked_for_from_the_newest_version_before(tmp_path):
    wanted, between = version(7, A, 6, B), version(6, B, 5, C)
    links = [DeltaLink(version=v.number, delta=v.deltas[0]) for v in (between, wanted)]
    asked = []

    def ask(start, end):
        asked.append((start, end))
        return links

    held = present(tmp_path, (4, D), (5, C), (9, D))
    assert plan(wanted, held, ask) == Plan(tmp_path / "5", links)
    assert asked == [(5, 7)]
    elsewhere = present(tmp_path, (5, D))
    assert plan(wanted, elsewhere, ask) is None, "version 5 of another history"
    assert plan(wanted, held, lambda start, end: ()) is None


@pytest.mark.parametrize("held", [(), ((9, C),)])
def test_without_an_older_version_there_is_no_way(tmp_path, held):
    assert plan(version(7, A, 6, B), present(tmp_path, *held), no_chain) is None


def test_without_a_delta_to_the_version_there_is_no_way(tmp_path):
    assert plan(version(7, A), present(tmp_path, (6, B)), no_chain) is None


def test_a_server_that_refuses_leaves_an_empty_folder_for_the_whole_files(tmp_path, caplog):
    def ask(start, end):
        raise ServerError(422, {"title": "no"})

    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "half").write_bytes(b"")
    wanted = version(7, A, 6, B)
    assert make_from_present(wanted, folder, present(tmp_path, (5, C)), ask, None) is None
    assert "version 7 is fetched whole" in caplog.text
    assert not list(folder.iterdir())


@pytest.fixture
def made(tmp_path):
    """Three generations of a weights file, the deltas between them, and what fetches those."""
    rng = np.random.default_rng(0)
    tensors = {"w": rng.integers(0, 1 << 32, 9000, np.uint32).view(np.float32),
               "b": np.ones(50, np.float16), "n": np.arange(3)}  # fmt: skip
    generations = [tensors]
    for _ in range(2):
        newer = {name: value.copy() for name, value in generations[-1].items()}
        newer["w"].view(np.uint32)[rng.integers(0, 9000, 200)] += 1
        newer["b"][7] += 1
        generations.append(newer)
    for number, content in enumerate(generations):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_file(content, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text("{}")
    for number in (1, 2):
        write_delta(tmp_path, number, generations[number - 1], generations[number])
    return tmp_path


def write_delta(root, number, old, new, cut=4000, base_sha256="", result=""):
    path = root / f"from-{number - 1}.delta"
    with tempfile.TemporaryFile() as spill:
        writer = DeltaWriter(spill)
        for name in ("b", "w"):
            bits = f"u{old[name].itemsize}"
            for start in range(0, old[name].size, cut):
                parts = (values[name].view(bits)[start : start + cut] for values in (old, new))
                writer.add(name, *parts)
        base, sha256 = base_sha256 or f"sha-{number - 1}", result or f"sha-{number}"
        return writer.write(path, number - 1, base, sha256)


def wanted(root, number):
    files = [
        WeightFile(name=path.name, size=path.stat().st_size, sha256=sha256(path))
        for path in sorted((root / str(number)).iterdir())
    ]
    return version(number, f"sha-{number}", files=files)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def links(root, *numbers):
    return tuple(
        DeltaLink(
            version=number,
            delta=WeightDelta(
                base=number - 1,
                base_sha256=f"sha-{number - 1}",
                file=WeightFile(name=f"from-{number - 1}.delta", size=0, sha256=""),
            ),
        )
        for number in numbers
    )


def run(root, number, way):
    """Apply `way` in a new folder; return its files."""
    folder = root / "made"
    folder.mkdir()

    def fetch(file, path):
        path.write_bytes((root / file.name).read_bytes())
        return path.stat().st_size

    fetched = apply(wanted(root, number), folder, way, fetch)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, fetched


def test_two_deltas_are_applied_in_one_walk(made):
    files, fetched = run(made, 2, Plan(made / "0", links(made, 1, 2)))
    assert files == {path.name: path.read_bytes() for path in (made / "2").iterdir()}
    assert fetched == sum((made / f"from-{n}.delta").stat().st_size for n in (0, 1))


def test_another_config_is_not_taken_from_the_base(made):
    (made / "0" / "config.json").write_text('{"old": 1}')
    (made / "config.json").write_text("{}")
    files, fetched = run(made, 1, Plan(made / "0", links(made, 1)))
    assert files["config.json"] == b"{}"
    assert fetched == (made / "from-0.delta").stat().st_size + 2


@pytest.mark.parametrize(
    ("number", "base", "numbers", "message"),
    [
        (2, "0", (1,), "do not lead to version 2"),
        (1, "1", (2,), "do not lead to version 1"),
        (2, "0", (2, 1), "do not lead to version 2"),
        (2, "0", (2,), "has not the sha256 that is wanted"),
    ],
)
def test_deltas_that_lead_elsewhere_are_refused(made, number, base, numbers, message):
    with pytest.raises(WireError, match=message):
        run(made, number, Plan(made / base, links(made, *numbers)))


def test_a_base_of_other_tensors_is_refused(made):
    save_file({"w": np.ones(7, np.float32)}, made / "0" / "model.safetensors")
    with pytest.raises(WireError, match="a block of 4000 values of a delta meets 7"):
        run(made, 1, Plan(made / "0", links(made, 1)))
    (made / "0" / "model.safetensors").write_bytes(b"none")
    with pytest.raises(WireError, match="no base for a delta"):
        list(patched(made / "0" / "model.safetensors", [DeltaFile(made / "from-0.delta")]))


def tensors_of(path):
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_deltas_cut_into_other_blocks_are_refused(made):
    old, new = (tensors_of(made / n / "model.safetensors") for n in ("1", "2"))
    write_delta(made, 2, old, new, cut=4500)
    with pytest.raises(WireError, match="4500 values of a delta meets 4000"):
        run(made, 2, Plan(made / "0", links(made, 1, 2)))


def test_deltas_of_more_or_fewer_values_are_refused(made):
    old, new = (tensors_of(made / n / "model.safetensors") for n in ("1", "2"))
    short = [{**tensors, "w": tensors["w"][:8000]} for tensors in (old, new)]
    write_delta(made, 2, *short)
    with pytest.raises(WireError, match="different numbers of blocks of tensor 'w'"):
        run(made, 2, Plan(made / "0", links(made, 1, 2)))
    (made / "made" / "model.safetensors").unlink()
    with pytest.raises(WireError, match="8000 values of tensor 'w' instead of 9000"):
        list(patched(made / "1" / "model.safetensors", [DeltaFile(made / "from-1.delta")]))


def test_a_delta_of_integers_is_refused(made):
    old = {**tensors_of(made / "0" / "model.safetensors"), "w": np.arange(3)}
    with tempfile.TemporaryFile() as spill:
        writer = DeltaWriter(spill)
        writer.add("n", np.zeros(3, np.uint32), np.ones(3, np.uint32))
        writer.write(made / "n.delta", 0, "", "")
    save_file(old, made / "old.safetensors")
    with pytest.raises(WireError, match="changes tensor 'n' of dtype I64"):
        list(patched(made / "old.safetensors", [DeltaFile(made / "n.delta")]))


def test_memory_is_that_of_a_few_blocks(tmp_path):
    """32 MiB of weights, 5 % changed: neither making the delta nor applying it holds them."""
    size, block = 1 << 24, 1 << 16
    rng = np.random.default_rng(0)
    save_file({"w": np.zeros(size, np.float16)}, tmp_path / "model.safetensors")
    tracemalloc.start()
    try:
        with tempfile.TemporaryFile() as spill:
            writer, old = DeltaWriter(spill), np.zeros(block, np.uint16)
            for _ in range(0, size, block):
                writer.add("w", old, (rng.random(block) < 0.05).astype(np.uint16))
            writer.write(tmp_path / "x.delta", 0, "", "")
        for part in patched(tmp_path / "model.safetensors", [DeltaFile(tmp_path / "x.delta")]):
            assert len(part) <= 1 << 20
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
