"""The real web process: what only sockets, gunicorn and signals can show."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from patience import PATIENCE
from web_process import WebProcess

from ralo_core.errors import RaloError
from ralo_server.cli.serve import listen


@pytest.fixture
def web(make_run):
    """The web process of a fresh run."""
    process = WebProcess(make_run("trainer.batch_trees=2"))
    yield process
    process.close()


def test_a_chunked_body_is_refused_and_does_not_read_as_empty(web):
    answer = requests.post(f"{web.url}/upload", data=iter([b"abc"]), headers={
        "Idempotency-Key": "x", "X-Ralo-Worker": "w"}, timeout=PATIENCE)  # fmt: skip
    assert answer.status_code == 411
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_half_sent_requests_do_not_stop_the_others(web):
    half = [web.connect(b"GET /health HTTP/1.1\r\nHo") for _ in range(8)]
    assert requests.get(f"{web.url}/health", timeout=PATIENCE).json()["status"] == "ok"
    for connection in half:
        connection.close()


def test_more_waiting_workers_than_threads_leave_room_for_other_requests(make_run):
    web = WebProcess(make_run("server.threads=4"))
    request = b"GET /weights/version?wait=20 HTTP/1.1\r\nHost: x\r\n\r\n"
    waiting = [web.connect(request) for _ in range(12)]
    turned_away = waiting[-1].recv(4096)
    assert b"204" in turned_away.split(b"\r\n")[0]
    assert b"retry-after: 1" in turned_away.lower()
    assert requests.get(f"{web.url}/health", timeout=PATIENCE).status_code == 200
    web.close()


def test_a_waiting_request_ends_when_the_server_is_told_to_stop(web):
    started = time.monotonic()
    waiting = web.connect(b"GET /weights/version?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")
    requests.get(f"{web.url}/health", timeout=PATIENCE)  # accepted later, so the other one waits
    time.sleep(0.3)
    web.process.send_signal(signal.SIGTERM)
    assert b"204" in waiting.recv(4096).split(b"\r\n")[0]
    assert web.process.wait(PATIENCE) == 0
    assert time.monotonic() - started < 25


def test_leases_and_port_survive_kill_9_of_the_web_process(web):
    url, headers = web.url, {"X-Ralo-Worker": "w1"}
    first = requests.get(f"{url}/problem/get?count=3", headers=headers, timeout=PATIENCE).json()
    web.kill_9()
    web.start()
    assert web.url == url
    second = requests.get(f"{url}/problem/get?count=3", headers=headers, timeout=PATIENCE).json()
    ids = [item["problem"]["id"] for item in first["problems"] + second["problems"]]
    assert len(set(ids)) == 6
    stats = requests.get(f"{url}/stats", timeout=PATIENCE).json()
    assert stats["problems"]["leased"] == 6


def test_a_port_in_use_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RaloError, match=f"127.0.0.1:{port}.*--set server.port=N"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()


def test_the_web_process_never_imports_torch(make_run):
    directory = make_run()
    code = (
        "import sys, pathlib\n"
        "from ralo_server.rundir.directory import RunDirectory\n"
        "from ralo_server.web.app import make_app\n"
        "from ralo_server.web.services import Services\n"
        "from ralo_server.web.live.waiting import Waiting\n"
        "import falcon.testing\n"
        f"d = RunDirectory(pathlib.Path({json.dumps(str(directory.root))}))\n"
        "c = falcon.testing.TestClient(make_app(Services(d, Waiting(places=1))))\n"
        "assert c.simulate_get('/stats').status_code == 200\n"
        "c.simulate_get('/problem/get', headers={'X-Ralo-Worker': 'w'})\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
