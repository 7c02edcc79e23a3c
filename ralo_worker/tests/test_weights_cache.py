"""The weights cache: whole versions only, fetched once, damage and pruning survived."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from ralo_core import RaloError, WeightFile, WeightVersion
from ralo_core.errors import ServerError
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.staged import Staged


class Origin:
    """A server's versions; `faults` are played one per download."""

    def __init__(self):
        self.files, self.downloads, self.faults, self.gone = {}, [], [], set()

    def publish(self, number, **content):
        files = tuple(
            WeightFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in content.items()
        )
        digest = hashlib.sha256(repr(files).encode()).hexdigest()
        version = WeightVersion(number=number, parent=None, sha256=digest, files=files, created=0.0)
        self.files[number] = (version, content)
        return version

    def manifest(self, number):
        return self.files[number][0]

    def version(self, after=-1, wait=0.0):
        newest = max(self.files)
        return self.files[newest][0] if newest > after else None

    def deltas(self, start, end):
        return ()

    def download(self, number, name, target):
        self.downloads.append((number, name))
        if number in self.gone:
            del self.files[number]
            raise ServerError(404, {"title": "no such version"})
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "broken":
            raise ConnectionError("broke off")
        target.write_bytes(b"damaged" if fault == "damaged" else self.files[number][1][name])


@pytest.fixture
def origin():
    made = Origin()
    made.publish(0, config=b"same", model=b"zero")
    return made


def test_a_version_is_fetched_once_and_unchanged_files_are_linked(origin, tmp_path):
    cache = WeightsCache(origin, "run", tmp_path)
    staged = cache.newest(-1)
    folder = staged.directory
    assert (folder / "model").read_bytes() == b"zero"
    assert staged.bytes == len(b"same") + len(b"zero")
    assert cache.stage(staged.version) == Staged(version=staged.version, directory=folder)
    origin.publish(1, config=b"same", model=b"one")
    second = cache.newest(0).directory
    assert (second / "config").read_bytes() == b"same"
    assert (second / "model").read_bytes() == b"one"
    assert origin.downloads == [(0, "config"), (0, "model"), (1, "model")]
    assert cache.newest(1) is None


def test_workers_of_one_machine_fetch_a_version_once(origin, tmp_path):
    caches = [WeightsCache(origin, "run", tmp_path) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        folders = {staged.directory for staged in pool.map(lambda cache: cache.newest(-1), caches)}
    assert len(folders) == 1
    assert len(origin.downloads) == 2


def test_what_arrives_damaged_or_broken_is_fetched_again(origin, tmp_path):
    origin.faults = ["damaged", "", "broken", "damaged", ""]
    folder = WeightsCache(origin, "run", tmp_path).newest(-1).directory
    assert (folder / "config").read_bytes() == b"same"
    assert (folder / "model").read_bytes() == b"zero"
    origin.publish(1, config=b"same", model=b"one")
    origin.faults = ["damaged"] * 3
    with pytest.raises(RaloError, match="did not arrive whole in 3 downloads"):
        WeightsCache(origin, "run", tmp_path).newest(0)
    assert not [path for path in folder.parent.glob("v000001*") if path.suffix != ".part"]


def test_a_version_pruned_meanwhile_gives_way_to_a_newer_one(origin, tmp_path):
    cache = WeightsCache(origin, "run", tmp_path)
    origin.publish(1, config=b"same", model=b"one")
    origin.publish(2, config=b"same", model=b"two")
    origin.gone = {2}
    staged = cache.newest(-1)
    assert staged.version.number == 1
    assert (staged.directory / "model").read_bytes() == b"one"


def test_runs_of_one_name_do_not_mix(origin, tmp_path):
    other = Origin()
    other.publish(0, config=b"same", model=b"another")
    one = WeightsCache(origin, "run", tmp_path).newest(-1).directory
    two = WeightsCache(other, "run", tmp_path).newest(-1).directory
    assert (one / "model").read_bytes() != (two / "model").read_bytes()
