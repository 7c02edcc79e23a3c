"""``ralo status``, ``stop`` and ``logs`` on a real run, and workers that are told its directory."""

import json
import signal
import subprocess
import sys
import time

import jsonschema
import pytest
from patience import PATIENCE
from served_run import ServedRun
from test_openapi import SPEC
from test_training_run import SETTINGS, command, ralo

STATS = {"$ref": "#/components/schemas/Stats", "components": SPEC["components"]}


@pytest.fixture
def run(model, tmp_path, own_reward, monkeypatch):
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    settings = ("server.port=0", "server.auth=on", "engine.use=fake", *own_reward)
    started = ServedRun(tmp_path, f"run.model={model}", *SETTINGS, *settings)
    yield started
    started.close()


def refused(*arguments):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
def test_a_run_is_shown_followed_and_stopped_by_its_directory(run):
    where = str(run.directory)
    assert "starting: waiting for a sampler and a trainer\n" in ralo("status", where)
    for role in ("sample", "train"):
        run.start(role, "--server", where)
    run.wait_for(lambda: run.stats().step >= 2)
    # The orchestrator is started again elsewhere: workers find it through the directory.
    old = run.url
    run.stop("serve")
    run.serve()
    assert run.url != old
    step = run.stats().step
    run.wait_for(lambda: run.stats().step >= step + 2)
    shown = ralo("status", where)
    assert "running" in shown.splitlines()[0]
    assert [word for word in ("sampler-", "trainer-", "queued", "busy") if word not in shown] == []
    stats = json.loads(ralo("status", where, "--json"))
    jsonschema.validate(stats, STATS)
    assert "token missing" in refused("status", "--server", run.url)
    assert "the run is finished" in ralo("stop", where, "--wait")
    shown = ralo("status", where)
    assert "finished" in shown.splitlines()[0]
    assert run.stats().bottleneck in shown
    for name in [name for name in run.processes if not name.startswith("serve")]:
        assert run.processes.pop(name).wait(PATIENCE) == 0, run.logs()


@pytest.mark.slow
def test_who_is_not_there_is_said_soon(tmp_path):
    (tmp_path / "server.url").write_text("http://127.0.0.1:1\n")
    begun = time.monotonic()
    assert "is not running, or cannot be reached" in refused("status", str(tmp_path))
    assert time.monotonic() - begun < 60
    assert "no run directory" in refused("stop", str(tmp_path / "none"))
    assert "either RUN_DIR or --server" in refused("status")
    assert "no log" in refused("logs", str(tmp_path))


def test_logs_are_followed_line_by_line_also_those_that_come_later(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "web.log").write_text("one\ntwo\nthree\n")
    (logs / "sample-0.log").write_text("first\n")
    command = [sys.executable, "-m", "ralo_core.cli.main", "logs", str(tmp_path), "-f", "-n", "2"]
    process = subprocess.Popen(
        [*command, "web", "sample"], stdout=subprocess.PIPE, text=True, bufsize=1,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    lines = iter(process.stdout)
    assert [next(lines) for _ in range(3)] == [
        "sample-0: first\n", "web: two\n", "web: three\n"
    ]  # fmt: skip
    with (logs / "web.log").open("a") as file:
        file.write("fo")
        file.flush()
        (logs / "sample-1.log").write_text("later\n")
        (logs / "learner.log").write_text("not asked for\n")
        assert next(lines) == "sample-1: later\n"
        file.write("ur\n")
    assert next(lines) == "web: four\n"
    (logs / "web.log").write_text("new\n")
    assert next(lines) == "web: new\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, "Ctrl-C ends it, also where the parent ignores that signal"
