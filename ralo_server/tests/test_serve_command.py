"""``ralo serve`` as a user starts it: tokens, TLS, resuming, one orchestrator at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import requests
from patience import PATIENCE

from ralo_core import PROMPT, TreeBuilder
from ralo_core.access import ADMIN, ROLES, SAMPLER, VIEWER, read_tokens
from ralo_core.client import Backoff, Client
from ralo_core.errors import RaloError, ServerError
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.lock import is_running

RALO = [sys.executable, "-m", "ralo_core.cli.main"]
SMALL = ("trainer.batch_trees=2", "learner.dtype=float32", "evaluation.problems=2", "server.port=0")


class Orchestrator:
    """A ``ralo serve`` and what it printed."""

    def __init__(self, run_dir, *arguments):
        self.directory = RunDirectory(run_dir)
        self.directory.url_file.unlink(missing_ok=True)
        self.output = run_dir.parent / f"serve-{time.monotonic_ns()}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*RALO, "serve", *arguments], stdout=output, stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as under nohup
            )  # fmt: skip
        self.wait_for(lambda: "serving" in self.printed())
        self.url = self.directory.url_file.read_text().strip()

    def printed(self):
        return self.output.read_text()

    def wait_for(self, condition, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.05)

    def client(self, role=None, **options):
        token = read_tokens(self.directory.root)[role] if role else ""
        return Client(self.url, token=token, backoff=Backoff(deadline=PATIENCE), **options)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0, self.printed()


@pytest.fixture
def serve():
    """Return a function that starts a ``ralo serve``; what is left at the end is stopped."""
    started = []

    def start(*arguments):
        started.append(Orchestrator(*arguments))
        return started[-1]

    yield start
    for orchestrator in started:
        if orchestrator.process.poll() is None:
            orchestrator.process.terminate()
            orchestrator.process.wait(PATIENCE)


def options(model, run_dir, *settings):
    assignments = (f"run.model={model}", *SMALL, *settings)
    return ["--run-dir", str(run_dir), *(part for a in assignments for part in ("--set", a))]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate of 127.0.0.1: (certificate, key)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=ralo-test",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_where_others_can_connect_requests_need_a_token_and_tls_protects_it(
    serve, model, tmp_path, certificate
):
    cert, key = certificate
    run_dir = tmp_path / "run"
    settings = ("server.host=0.0.0.0", f"server.certfile={cert}", f"server.keyfile={key}")
    server = serve(run_dir, *options(model, run_dir, *settings))
    assert server.url.startswith("https://127.0.0.1:")
    tokens = read_tokens(run_dir)
    for role in ROLES:
        assert f"token of a {role}: {tokens[role]}" in server.printed()
    assert not any(token in line for line in arguments_of_all() for token in tokens.values())
    with pytest.raises(RaloError, match="is not trusted .*--ca or RALO_CA"):
        server.client(ADMIN).health()
    assert server.client(ca=cert).health()["status"] == "ok"
    with pytest.raises(ServerError, match="HTTP 401.*--token or RALO_TOKEN"):
        server.client(ca=cert).stats()
    with pytest.raises(ServerError, match="HTTP 403"):
        server.client(VIEWER, ca=cert).stop()
    sampler = server.client(SAMPLER, ca=cert)
    version = wait_until(lambda: sampler.version())
    for file in version.files:
        target = tmp_path / file.name
        target.write_bytes(
            sampler.transport.request("GET", f"/weights/parts/{file.sha256}").content
        )
        assert target.stat().st_size == file.size
    leased, _ = sampler.problems(2)
    builder = TreeBuilder(leased.problem.id, [1], lease_id=leased.lease_id)
    segment = builder.add_segment(PROMPT, np.zeros(200_000), np.zeros(200_000), 0)
    builder.add_leaf(segment, "eos")  # a body of many TLS records
    assert sampler.upload_tree(builder.build())["accepted"]
    server.stop()
    again = serve(run_dir, "--resume", str(run_dir))
    assert "token of a" not in again.printed(), "they are printed once"
    assert read_tokens(run_dir) == tokens
    assert again.client(ADMIN, ca=cert).stats()["problems"]["leased"] == 1


def test_an_open_server_is_a_choice_that_is_warned_of(serve, model, tmp_path):
    run_dir = tmp_path / "run"
    settings = ("server.host=0.0.0.0", "server.auth=off")
    server = serve(run_dir, *options(model, run_dir, *settings))
    assert "warning: server.auth = 'off'" in server.printed()
    assert server.client().stats()["state"] == "running"
    assert not (run_dir / "tokens.json").exists()


def test_on_loopback_nothing_is_asked_for_and_hidden_tokens_are_not_printed(serve, model, tmp_path):
    plain, closed = tmp_path / "plain", tmp_path / "closed"
    assert serve(plain, *options(model, plain)).client().stats()["step"] == 0
    server = serve(closed, *options(model, closed, "server.auth=on"), "--hide-tokens")
    assert read_tokens(closed)[ADMIN] not in server.printed()
    assert "tokens.json" in server.printed()
    assert server.client(ADMIN).stats()["step"] == 0


def test_headers_beyond_the_limit_are_refused(serve, model, tmp_path):
    run_dir = tmp_path / "run"
    server = serve(run_dir, *options(model, run_dir))
    for headers in ({"X-Long": "x" * 9000}, {f"X-{n}": "1" for n in range(80)}, {"X_Under": "1"}):
        answer = requests.get(f"{server.url}/health", headers=headers, timeout=PATIENCE)
        assert answer.status_code in (400, 431)
    long = requests.get(f"{server.url}/health?{'x' * 5000}", timeout=PATIENCE)
    assert long.status_code == 414
    assert server.client().health()["status"] == "ok"


def test_a_killed_orchestrator_is_resumed_after_the_last_of_its_processes_ended(
    serve, model, tmp_path
):
    run_dir = tmp_path / "run"
    first = serve(run_dir, *options(model, run_dir, "run.max_steps=3"))
    wait_until(lambda: first.client().version())
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = serve(run_dir, "--resume", str(run_dir), "--set", "run.max_steps=9")
    stats = second.client().stats()
    assert stats["limits"]["max_steps"] == 9
    assert json.loads((run_dir / "config.json").read_text())["sources"]["run.model"] == "--set"
    assert is_running(second.directory)
    second.stop()
    assert not is_running(second.directory)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--resume", ".", "--plugin", "grpo"], 2, "--resume takes --set only"),
        (["--resume", "."], 1, "is not a run directory"),
        (["--set", "server.certfile=/nowhere", "--set", "server.port=0"], 1, "server.keyfile = ''"),
    ],
)
def test_what_cannot_work_is_said_at_once(tmp_path, arguments, code, message):
    done = subprocess.run(
        [*RALO, "serve", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert message in done.stderr


def test_an_orchestrator_that_stays_until_the_end_goes_when_its_workers_have_left(
    serve, model, tmp_path
):
    arguments = options(model, tmp_path / "run", "evaluation.problems=0")
    told_to = serve(tmp_path / "run", *arguments, "--until-finished")
    told_to.stop()
    assert not told_to.directory.finished_file.exists(), "it was told to, the run goes on"
    server = serve(tmp_path / "run", *arguments, "--until-finished")
    worker = server.client(worker_id="w1")
    worker.register("sampler", worker.config()["plugins"])
    worker.stop()
    server.wait_for(lambda: worker.health()["state"] == "finished")
    time.sleep(3.0)  # it has looked again, and w1 is still here
    assert server.process.poll() is None
    worker.leave()
    assert server.process.wait(PATIENCE) == 0
    assert server.directory.finished_file.exists()
    again = serve(tmp_path / "run", *arguments)
    assert not again.directory.finished_file.exists()
    again.stop()


def test_a_second_orchestrator_is_refused_while_a_child_of_the_first_lives(tmp_path, make_run):
    from ralo_server.rundir.lock import lock

    directory = make_run()
    with lock(directory) as held:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[held.fileno()])
    try:
        with (
            pytest.raises(RaloError, match="another orchestrator is running"),
            lock(directory, wait_seconds=0.0),
        ):
            pass
    finally:
        child.kill()
        child.wait()
    with lock(directory, wait_seconds=5.0):
        assert directory.lock_file.read_text() == str(os.getpid())
    assert directory.lock_file.read_text() == ""


def wait_until(ask, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def arguments_of_all():
    listing = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()
