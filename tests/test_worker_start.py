"""Workers at their start: a server that is not there, one they do not fit, a run that is over."""

import os
import signal
import subprocess
import sys
import time

import pytest
from served_run import ServedRun


def ignore_interrupts():
    """What nohup, ``&`` in a script and some CI runners do to the processes that they start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("role", ["sample", "train"])
def test_a_worker_waits_for_a_server_says_so_once_and_stops_when_told(role, number, tmp_path):
    command = [sys.executable, "-m", "ralo_core.cli.main", role, "--server", "http://127.0.0.1:1"]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=ignore_interrupts
        )
        deadline = time.monotonic() + 60
        while "does not answer" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(number)
        assert process.wait(20) == 0
    (line,) = log.read_text().splitlines()
    assert "http://127.0.0.1:1 does not answer /config (Connection refused); retrying" in line


@pytest.fixture(scope="module")
def treepo_run(model, tmp_path_factory):
    """A run whose samplers need ralo-treepo, and whose trainers do, too."""
    started = ServedRun(
        tmp_path_factory.mktemp("treepo"),
        f"run.model={model}",
        "server.port=0",
        "engine.use=fake",
        "evaluation.problems=0",
        recipe="treepo",
    )
    yield started
    started.close()


@pytest.mark.parametrize("role", ["sample", "train"])
def test_a_worker_without_a_plugin_of_the_run_is_told_the_pip_command(role, treepo_run):
    done = subprocess.run(
        [sys.executable, "-m", "ralo_core.cli.main", role, "--server", treepo_run.url],
        env={**os.environ, "RALO_PLUGINS_DISABLE": "treepo"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ralo: ")]
    assert "the run uses plugin 'treepo' of ralo-treepo 0.1.0" in line
    assert "this worker does not have it. Mend it with: pip install 'ralo-treepo==0.1.0'" in line
    assert "Traceback" not in done.stderr
