"""Parts in an object store: uploads that survive faults, and redirects to a real S3 protocol."""

import os
import subprocess
import sys
import threading

import pytest
import requests
from patience import PATIENCE
from published import publish
from safetensors.torch import save_file
from torch import ones
from web_process import WebProcess, wait_for

from ralo_core.client import Backoff, Client
from ralo_core.config import resolve, set_layer
from ralo_core.errors import RaloError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.publish.object_store_uploads import ObjectStoreUploads
from ralo_server.models.object_store import ObjectStore
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_worker.weights.parts import PartFetcher
from ralo_worker.weights.sources import Sources

CONTENT = os.urandom(2 << 20)
QUICK = Backoff(first=0.01, cap=0.02)


@pytest.fixture
def make_store(tmp_path):
    """Return a function that makes a run whose ``weights.store`` is a URL: (directory, store)."""

    def make(url):
        model = tmp_path / "model"
        model.mkdir()
        save_file({"w": ones(3)}, model / "model.safetensors")
        for name in ("config.json", "tokenizer.json"):
            (model / name).write_text("{}")
        settings = [f"run.model={model}", "server.min_free_mb=0", f"weights.store={url}"]
        directory = RunDirectory(tmp_path / "run")
        prepare(directory, resolve([set_layer(settings)], Registry(PluginHost().load())), "")
        return directory, Store(directory, directory.load_config(())[0])

    return make


@pytest.fixture
def uploads():
    """Return a function that starts the thread for a store and a target."""
    started = []

    def start(store, target):
        thread = ObjectStoreUploads(store.parts, target, QUICK)
        thread.start()
        started.append(thread)
        return thread

    yield start
    for thread in started:
        thread.close()


def all_stored(store):
    return lambda: not store.parts.unstored()


def names(folder):
    return {path.name for path in folder.glob("*")}


def digests(*versions):
    return {
        file.sha256
        for version in versions
        for file in (*version.files, *(delta.file for delta in version.deltas))
    }


def test_files_and_deltas_go_there_and_pruned_ones_away(make_store, uploads, tmp_path):
    bucket = tmp_path / "bucket"
    _, store = make_store(f"file://{bucket}")
    first = publish(store, 0, b"zero")
    thread = uploads(store, ObjectStore(f"file://{bucket}"))
    wait_for(all_stored(store))
    second = publish(store, 1, b"one", [b"short"])
    third = publish(store, 2, b"two")
    thread.wake()
    wait_for(all_stored(store))
    assert names(bucket) == digests(first, second, third)
    for path in bucket.iterdir():
        assert store.parts.find(path.name).path.read_bytes() == path.read_bytes()
    assert store.versions.prune(1) == [1]
    thread.wake()
    wait_for(lambda: names(bucket) == digests(first, third))
    assert store.parts.superfluous() == []


class Fails:
    """An object store that takes nothing until `mended`; `put` is that of a real one."""

    def __init__(self, target):
        self.target, self.url, self.tries, self.mended = target, target.url, 0, threading.Event()

    def put(self, path, sha256):
        self.tries += 1
        if not self.mended.is_set():
            raise TimeoutError("the store is away")
        self.target.put(path, sha256)

    def remove(self, sha256):
        self.target.remove(sha256)


def test_a_store_that_is_away_is_tried_again_and_said_once(make_store, uploads, tmp_path, caplog):
    _, store = make_store(f"file://{tmp_path / 'bucket'}")
    version = publish(store, 0, b"zero")
    target = Fails(ObjectStore(f"file://{tmp_path / 'bucket'}"))
    uploads(store, target)
    wait_for(lambda: target.tries >= 3)
    assert store.parts.unstored() != []
    target.mended.set()
    wait_for(all_stored(store))
    assert names(tmp_path / "bucket") == digests(version)
    wait_for(lambda: [r.levelname for r in caplog.records if "no part" in r.message][:1])
    assert sum("no part can be put into" in record.message for record in caplog.records) == 1


def test_a_version_pruned_before_its_turn_stops_nothing(make_store, uploads, tmp_path):
    _, store = make_store(f"file://{tmp_path / 'bucket'}")
    kept = [publish(store, number, b"%d" % number) for number in range(3)]
    store.versions.prune(1)
    (store.versions.directory(0) / "model.safetensors").unlink()  # as between a look and a copy
    publish(store, 3, b"3")
    with store.database.write() as connection:
        connection.execute("DELETE FROM parts WHERE version = 0")
    uploads(store, ObjectStore(f"file://{tmp_path / 'bucket'}"))
    wait_for(all_stored(store))
    assert digests(kept[2]) <= names(tmp_path / "bucket")


def test_another_store_gets_everything_anew(make_store, uploads, tmp_path):
    _, store = make_store(f"file://{tmp_path / 'a'}")
    version = publish(store, 0, b"zero")
    for name in ("a", "b"):
        thread = uploads(store, ObjectStore(f"file://{tmp_path / name}"))
        wait_for(all_stored(store))
        thread.close()
        assert names(tmp_path / name) == digests(version)


def test_a_filesystem_without_signatures_leaves_the_serving_to_the_orchestrator(
    make_store, uploads, tmp_path
):
    directory, store = make_store("memory://run")
    version = publish(store, 0, CONTENT)
    uploads(store, ObjectStore("memory://run"))
    wait_for(all_stored(store))
    web = WebProcess(directory)
    answer = requests.get(f"{web.url}/weights/parts/{version.files[0].sha256}", timeout=PATIENCE)
    web.close()
    assert (answer.content, answer.history) == (CONTENT, [])


@pytest.mark.parametrize("url", ["nosuch://bucket", "ftps2://x/y"])
def test_a_store_that_nobody_knows_is_refused_at_the_start(make_store, url):
    with pytest.raises(RaloError, match=f"weights.store = '{url}' cannot be opened"):
        make_store(url)


@pytest.fixture
def s3(monkeypatch):
    """A server of the S3 protocol; its URL. Everything that asks finds it through variables."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    code = (
        "from moto.moto_server.threaded_moto_server import ThreadedMotoServer\n"
        "import sys, threading\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n"
        "server.start()\n"
        "print(server._server.port, flush=True)\n"
        "threading.Event().wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{int(process.stdout.readline())}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fs.S3FileSystem.clear_instance_cache()
    fs.S3FileSystem().mkdir("bucket")
    yield url
    process.kill()
    process.wait(PATIENCE)
    process.stdout.close()
    fs.S3FileSystem.clear_instance_cache()


def test_parts_come_from_s3_by_signed_urls_once_they_are_there(make_store, uploads, s3, tmp_path):
    directory, store = make_store("s3://bucket/run")
    version = publish(store, 0, CONTENT)
    (part,) = version.files
    web = WebProcess(directory)
    address = f"{web.url}/weights/parts/{part.sha256}"
    before = requests.get(address, timeout=PATIENCE)
    assert (before.content, before.history) == (CONTENT, []), "it is not there yet"
    uploads(store, ObjectStore("s3://bucket/run"))
    wait_for(all_stored(store))
    answer = requests.get(address, timeout=PATIENCE, allow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith(f"{s3}/bucket/run/{part.sha256}?")
    assert "Signature=" in answer.headers["Location"]
    assert answer.headers["Cache-Control"] == "no-store"
    direct = requests.get(address, headers={"X-Ralo-Direct": "1"}, timeout=PATIENCE)
    assert (direct.content, direct.history) == (CONTENT, [])
    # From here on the orchestrator has no bytes to give: they can only come from the store.
    store.parts.find(part.sha256).path.unlink()
    fetcher = PartFetcher(Sources(Client(web.url, "s")), range_bytes=500_000)
    assert fetcher.fetch(part, tmp_path / "part") == len(CONTENT)
    assert (tmp_path / "part").read_bytes() == CONTENT
    web.close()
