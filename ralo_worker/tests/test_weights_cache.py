"""The weights cache over real HTTP: whole versions only, fetched once per machine, shared."""

import fcntl
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from part_server import PartServer
from patience import PATIENCE

from ralo_core import RaloError
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.local import LocalVersions
from ralo_worker.weights.local_version import LocalVersion

MODEL = os.urandom(300_000)


@pytest.fixture
def origin():
    made = PartServer()
    made.publish(0, config=b"same", model=MODEL)
    yield made
    made.close()


def names_asked(origin):
    by_digest = {f.sha256: f.name for version in origin.versions.values() for f in version.files}
    return [by_digest[sha256] for sha256, _ in origin.requests]


def test_a_version_is_fetched_once_and_unchanged_files_are_linked(origin, tmp_path):
    cache = WeightsCache(origin.client(), "run", tmp_path)
    staged = cache.newest(-1)
    assert (staged.directory / "model").read_bytes() == MODEL
    assert staged.bytes == len(b"same") + len(MODEL)
    assert staged.seconds > 0
    assert cache.stage(staged.version) == LocalVersion(
        version=staged.version, directory=staged.directory
    )
    origin.publish(1, config=b"same", model=b"one")
    # A process that begins anew finds what is there.
    second = WeightsCache(origin.client(), "run", tmp_path).newest(0)
    assert (second.directory / "config").read_bytes() == b"same"
    assert (second.directory / "model").read_bytes() == b"one"
    assert second.bytes == len(b"one")
    assert names_asked(origin) == ["config", "model", "model"]
    assert cache.newest(1) is None


def test_an_old_version_that_is_about_to_be_opened_is_not_removed(origin, tmp_path):
    """The model that a run began with is asked for by every trainer that joins."""
    cache = WeightsCache(origin.client(), "run", tmp_path)
    first, forgotten = cache.newest(-1), None
    for number in (1, 2, 3):
        origin.publish(number, model=str(number).encode())
        staged = cache.newest(number - 1)
        forgotten = forgotten or staged
        os.utime(staged.directory, (0, 0))
    os.utime(first.directory, (0, 0))
    assert cache.stage(first.version).directory == first.directory
    origin.publish(4, model=b"4")
    cache.newest(3)
    assert (first.directory / "model").exists()
    assert not forgotten.directory.exists()


FETCH = """
import sys, pathlib
from ralo_core.client import Client
from ralo_worker.weights.cache import WeightsCache
staged = WeightsCache(Client(sys.argv[1], "w"), "run", pathlib.Path(sys.argv[2])).newest(-1)
print(staged.bytes, staged.directory)
"""


def test_processes_of_one_machine_fetch_a_version_once(origin, tmp_path):
    command = [sys.executable, "-c", FETCH, origin.url, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    answers = [worker.communicate(timeout=PATIENCE)[0].split() for worker in workers]
    assert len({folder for _, folder in answers}) == 1
    fetched = [int(count) for count, _ in answers]
    assert sorted(fetched) == [0] * 7 + [4 + len(MODEL)], "the others report no transfer"
    assert sum(origin.sent.values()) == 4 + len(MODEL)


def test_a_version_pruned_meanwhile_gives_way_to_a_newer_one(origin, tmp_path):
    cache = WeightsCache(origin.client(), "run", tmp_path)
    doomed = origin.publish(1, config=b"same", model=b"one")

    def prune(sha256, first, last):
        origin.gone = {doomed.files[1].sha256}
        origin.publish(2, config=b"same", model=b"two")

    origin.fault = prune
    staged = cache.newest(-1)
    assert staged.version.number == 2
    assert (staged.directory / "model").read_bytes() == b"two"
    assert [path.name for path in staged.directory.parent.glob("v*")] == [staged.directory.name]


def test_runs_of_one_name_do_not_mix(origin, tmp_path):
    other = PartServer()
    other.publish(0, config=b"same", model=b"another")
    one = WeightsCache(origin.client(), "run", tmp_path).newest(-1).directory
    two = WeightsCache(other.client(), "run", tmp_path).newest(-1).directory
    other.close()
    assert (one / "model").read_bytes() != (two / "model").read_bytes()


def test_what_a_killed_worker_left_is_not_taken_for_a_version(origin, tmp_path):
    cache = WeightsCache(origin.client(), "run", tmp_path)
    target = cache._local.directory(origin.versions[0])
    partial = target.with_name(f"{target.name}.part")
    partial.mkdir()
    (partial / "model").write_bytes(b"half")
    cache._local.describe(origin.versions[0], partial)
    assert LocalVersions(target.parent).versions() == {}
    assert (cache.newest(-1).directory / "model").read_bytes() == MODEL


@pytest.fixture
def limit():
    """No file may become as large as the model, as on a full disk; call it to lift that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(MODEL) - 1, before[1]))

    def lift():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield lift
    lift()


def test_a_full_disk_is_named_and_leaves_nothing_and_the_worker_goes_on(
    origin, tmp_path, limit, caplog
):
    cache = WeightsCache(origin.client(), "run", tmp_path)
    origin.publish(1, config=b"same", model=MODEL + b"one")
    for _ in range(2):
        assert cache.newest(0) is None
    (message,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert f"needs {len(MODEL) + 3} bytes" in message
    assert str(tmp_path) in message
    assert list(tmp_path.glob("*/v*")) == []
    assert "model" not in names_asked(origin), "nothing is fetched that has no room"
    limit()
    staged = cache.newest(0)
    assert (staged.directory / "model").read_bytes() == MODEL + b"one"


def test_a_worker_without_weights_waits_for_room(origin, tmp_path, limit, monkeypatch):
    monkeypatch.setattr("ralo_worker.weights.cache._FULL_SECONDS", 0.01)
    cache = WeightsCache(origin.client(), "run", tmp_path)
    with ThreadPoolExecutor(1) as pool:
        staged = pool.submit(cache.newest, -1)
        while not cache._full:
            assert not staged.done()
        limit()
        assert (staged.result(PATIENCE).directory / "model").read_bytes() == MODEL


def test_a_worker_that_stops_does_not_wait_for_room(origin, tmp_path, limit):
    stopping = threading.Event()
    stopping.set()
    cache = WeightsCache(origin.client(stopping=stopping), "run", tmp_path)
    with pytest.raises(RaloError, match="no room for"):
        cache.stage(origin.versions[0])
    with (cache._folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
