"""A relay is what ``ralo launch relay`` writes and a real nginx runs, in front of a real server."""

import hashlib
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from click.testing import CliRunner
from patience import PATIENCE
from ports import port_to_keep
from published import publish
from safetensors.torch import save_file
from slow_link import SlowLink
from torch import ones
from web_process import WebProcess, wait_for

from ralo.launch.relay import Relay
from ralo_core.access import SAMPLER, VIEWER
from ralo_core.cli.main import main
from ralo_core.client import Client, Connection
from ralo_core.config import resolve, set_layer
from ralo_core.errors import RaloError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.tokens import make_tokens
from ralo_server.store import Store
from ralo_worker.cli.sample import sample
from ralo_worker.cli.train import train
from ralo_worker.membership import join
from ralo_worker.weights.parts import PartFetcher
from ralo_worker.weights.sources import Sources

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
CONTENT = os.urandom(40 << 20)
SPEED = 40 << 20


class Site:
    """An orchestrator that asks for tokens, a slow link to it, and a relay at the other end."""

    def __init__(self, folder):
        directory = RunDirectory(folder / "run")
        prepare(
            directory, resolve([set_layer(settings(folder))], Registry(PluginHost().load())), ""
        )
        self.tokens = make_tokens(directory)
        self.store = Store(directory, directory.load_config(())[0])
        self.version = publish(self.store, 0, CONTENT)
        self.web = WebProcess(directory)
        self.link = SlowLink(int(self.web.url.rpartition(":")[2]), SPEED)
        self.folder = folder / "relay"
        self.start_relay()

    def start_relay(self):
        port = port_to_keep()
        self.url = f"http://127.0.0.1:{port}"
        made = CliRunner().invoke(
            main, ["launch", "relay", "--server", self.link.url, "--listen", f"127.0.0.1:{port}",
                   "--cache-dir", str(self.folder)],
        )  # fmt: skip
        assert made.exit_code == 0, made.output
        command = [NGINX, "-p", str(self.folder), "-c", "nginx.conf"]
        # Its workers would be nobody, who may not enter a folder of pytest.
        command += ["-g", "user root;"] if os.geteuid() == 0 else []
        self.nginx = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_for(self.answers, lambda: self.nginx.stderr.read() if self.nginx.poll() else "waits")

    def answers(self):
        try:
            return requests.get(self.url, timeout=5).status_code == 404
        except requests.ConnectionError:
            return False

    def client(self, name, role=SAMPLER):
        return Client(self.web.url, name, token=self.tokens[role])

    def close(self):
        self.nginx.terminate()
        self.nginx.wait(PATIENCE)
        self.nginx.stderr.close()
        self.link.close()
        self.web.close()


def settings(folder):
    return [f"run.model={model(folder)}", "server.auth=on", "server.min_free_mb=0"]


def model(folder):
    made = folder / "model"
    made.mkdir()
    save_file({"w": ones(3)}, made / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (made / name).write_text("{}")
    return made


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


@needs_nginx
def test_sixteen_samplers_behind_a_relay_cost_the_orchestrator_one_transfer(site, tmp_path):
    (part,) = site.version.files

    def sample(number):
        fetcher = PartFetcher(Sources(site.client(f"s{number}"), [site.url]))
        target = tmp_path / f"s{number}"
        fetched = fetcher.fetch(part, target)
        arrived = hashlib.sha256(target.read_bytes()).hexdigest() == part.sha256
        target.unlink()
        return fetched if arrived else -1

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(sample, range(16))) == [len(CONTENT)] * 16
    # Headers, and a question without a body for each range of each sampler.
    assert len(CONTENT) <= site.link.received < len(CONTENT) * 1.01
    held = site.store.database.value("SELECT COUNT(*) FROM readers")
    assert held == 0, "nobody was told of a version here"


@needs_nginx
def test_a_relay_gives_nobody_more_than_the_orchestrator_does(site):
    path = f"/weights/parts/{site.version.files[0].sha256}"
    first = get(site, path, site.tokens[SAMPLER])
    assert first.content == CONTENT
    for token, status in ((None, 401), ("wrong", 401), (site.tokens[VIEWER], 403)):
        assert get(site, path, token).status_code == status, "although it has the part"
    for other in ("/weights/version", "/stats", f"{path}0", f"{path}/../../stats"):
        assert get(site, other, site.tokens[SAMPLER]).status_code == 404
    assert get(site, "/may", site.tokens[SAMPLER]).content == b"", "it is for the relay itself"
    before = site.link.received
    part = get(site, path, site.tokens[SAMPLER], {"Range": "bytes=5-1004"})
    assert (part.status_code, part.content) == (206, CONTENT[5:1005])
    assert part.headers["Content-Range"] == f"bytes 5-1004/{len(CONTENT)}"
    assert site.link.received - before < 1000, "it asked whether, not for the bytes"


@needs_nginx
def test_a_fetch_renews_the_hold_of_its_worker_through_the_relay(site):
    client = site.client("s")
    client.manifest(0)
    with site.store.database.write() as connection:
        connection.execute("UPDATE readers SET expires = expires - 100")
    before = site.store.database.value("SELECT expires FROM readers")
    headers = client.transport.headers
    part = f"{site.url}/weights/parts/{site.version.files[0].sha256}"
    assert requests.get(part, headers=headers, timeout=PATIENCE).status_code == 200
    assert site.store.database.value("SELECT expires FROM readers") > before + 50


@needs_nginx
def test_a_pruned_part_is_given_as_long_as_the_relay_has_it(site):
    path = f"/weights/parts/{site.version.files[0].sha256}"
    assert get(site, path, site.tokens[SAMPLER]).status_code == 200
    with site.store.database.write() as connection:
        connection.execute("DELETE FROM parts")
    assert get(site, path, site.tokens[SAMPLER]).content == CONTENT
    assert get(site, path, site.tokens[VIEWER]).status_code == 403
    assert get(site, f"/weights/parts/{'0' * 64}", site.tokens[SAMPLER]).status_code == 404


@needs_nginx
def test_a_relay_whose_link_is_down_is_passed_by(site, tmp_path):
    site.link.broken = True
    (part,) = site.version.files
    fetcher = PartFetcher(Sources(site.client("s"), [site.url]))
    assert fetcher.fetch(part, tmp_path / "part") == len(CONTENT)
    assert (tmp_path / "part").read_bytes() == CONTENT


@needs_nginx
def test_a_cache_whose_disk_changed_a_byte_is_found_out(site, tmp_path):
    (part,) = site.version.files
    fetcher = PartFetcher(Sources(site.client("s"), [site.url]))
    fetcher.fetch(part, tmp_path / "first")
    kept = max((site.folder / "parts").rglob("*"), key=lambda path: path.stat().st_size)
    with kept.open("r+b") as file:
        file.seek(1 << 20)
        byte = file.read(1)
        file.seek(1 << 20)
        file.write(bytes([byte[0] ^ 1]))
    assert fetcher.fetch(part, tmp_path / "second") == 2 * len(CONTENT)
    assert (tmp_path / "second").read_bytes() == CONTENT


def get(site, path, token, headers=None):
    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
    session = requests.Session()
    request = requests.Request("GET", site.url, headers={**shown, **(headers or {})}).prepare()
    request.url = f"{site.url}{path}"  # as it stands: requests would mend "/../"
    return session.send(request, timeout=PATIENCE)


@pytest.mark.parametrize("command", [sample, train])
def test_a_worker_hears_of_relays_by_option_and_variable(command, monkeypatch):
    server = ("--server", "http://lab")
    asked = [*server, "--source", "http://a", "--source", "http://b"]
    assert command.make_context("worker", asked).params["relays"] == ("http://a", "http://b")
    monkeypatch.setenv("RALO_WEIGHT_SOURCES", "http://c http://d")
    assert command.make_context("worker", [*server]).params["relays"] == ("http://c", "http://d")


def test_the_relays_of_a_worker_come_before_those_of_the_run(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    assignments = [f"run.model={model(tmp_path)}", 'weights.sources=["http://c"]']
    prepare(directory, resolve([set_layer(assignments)], Registry(PluginHost().load())), "")
    web = WebProcess(directory)
    connection = Connection(url=web.url, relays=["http://a", "http://b"])
    member = join(connection, "sampler", (), threading.Event())
    web.close()
    assert member.relays == ("http://a", "http://b", "http://c")


@pytest.mark.parametrize("url", ["lab:59888", "ftp://lab", "https://", "https://lab/ralo", ""])
def test_what_is_no_url_is_refused(url, tmp_path):
    relay = Relay(server=url, listen="1", folder=tmp_path, max_gb=1, ca=tmp_path)
    with pytest.raises(RaloError, match="is no URL of an orchestrator"):
        relay.config()


def test_a_path_that_nginx_would_misread_is_refused(tmp_path):
    for name in ("a b", "a;b", "a$b", 'a"b', "a{b"):
        folder = tmp_path / name
        relay = Relay(server="http://lab:1", listen="1", folder=folder, max_gb=1, ca=tmp_path)
        with pytest.raises(RaloError, match="cannot stand in an nginx configuration"):
            relay.config()


def test_an_orchestrator_with_tls_is_verified(tmp_path):
    relay = Relay(server="https://lab.example", listen="1", folder=tmp_path, max_gb=7, ca=tmp_path)
    config = relay.config()
    for line in (
        "server lab.example:443;",
        "proxy_ssl_verify on;",
        "proxy_ssl_name lab.example;",
        f"proxy_ssl_trusted_certificate {tmp_path};",
        "max_size=7g",
    ):
        assert line in config
