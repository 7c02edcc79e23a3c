"""`ralo show` and `ralo top` against the real web process of a run."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from patience import PATIENCE
from web_process import WebProcess

from ralo_core.cli.main import main


@pytest.fixture
def web(server, random_gradient):
    """The web process of a run with two steps, a result, and a tree in the queue."""
    run = server("trainer.batch_trees=1", "evaluation.problems=2", "evaluation.every_steps=1")
    learner = run.learner()
    run.take_steps(learner, random_gradient, 2)
    run.fill(1)
    run.report(run.claim(), [True, False])
    learner.close()
    process = WebProcess(run.directory)
    yield process
    process.close()


def ralo(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


def shown(*arguments):
    return json.loads(ralo("show", *arguments, "--json"))


def test_steps_results_and_rollouts_are_shown(web):
    show_steps(web.directory.root)
    show_results(web)
    show_rollouts(web)


def show_steps(root):
    rows = shown("steps", root)
    assert [row["step"] for row in rows] == [1, 2]
    assert len(rows[0]) > 20, "as JSON all metrics, unless some are chosen"
    assert shown("steps", root, "--last", 1, "--metric", "reward") == [{"step": 2, "reward": 0.5}]
    table = ralo("show", "steps", root)
    assert re.search(r"^ +2 +0\.5 ", table, flags=re.M), table
    one = ralo("show", "steps", root, "--step", 1)
    assert re.search(r"^stop/eos +1 *$", one, flags=re.M), one
    assert "no step 3" in ralo("show", "steps", root, "--step", 3, code=1)
    assert "no step has a metric 'x'" in ralo("show", "steps", root, "--metric", "x", code=1)


def show_results(web):
    (result,) = shown("evals", "--server", web.url)
    assert (result["benchmark"], result["version"]) == ("held_out", 0)
    assert shown("evals", "--server", web.url, "--step", 1) == []
    assert "50.0%" in ralo("show", "evals", web.directory.root, "--benchmark", "held_out")


def show_rollouts(web):
    root = web.directory.root
    rows = shown("rollouts", root)
    assert [row["state"] for row in rows][0] == "queued"
    number = rows[0]["number"]
    tree = shown("rollouts", root, number)
    assert tree == shown("rollouts", "--server", web.url, number)
    assert len(tree["leaves"]) == rows[0]["leaves"] == 2
    drawn = ralo("show", "rollouts", root, number)
    assert f"rollout {number}" in drawn
    assert drawn.count("● reward") == 2
    assert "1.000" not in ralo("show", "rollouts", root, "--problem", "nobody")
    assert len(shown("rollouts", root, "--last", 1)) == 1
    assert "404" in ralo("show", "rollouts", root, 999, code=1)
    assert "not 'x'" in ralo("show", "rollouts", root, "x", code=2)


class Terminal:
    """`ralo top` of a run in a terminal of 80 columns and 24 lines."""

    def __init__(self, root):
        self.screen, self.master, slave = b"", *pty.openpty()
        command = [sys.executable, "-m", "ralo_core.cli.main", "top", str(root), "--refresh", "0.2"]
        size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, **size},
            start_new_session=True, preexec_fn=lambda: self._begin(slave),
        )  # fmt: skip
        os.close(slave)

    @staticmethod
    def _begin(slave):
        os.open(os.ttyname(slave), os.O_RDWR)  # makes it the terminal whose Ctrl-C it gets
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup

    def wait_for(self, text):
        """Wait until `text` is drawn, from now on."""
        self.screen, deadline = b"", time.monotonic() + PATIENCE
        while text.encode() not in self.screen and text not in self.drawn():
            assert time.monotonic() < deadline, self.drawn()
            if select.select([self.master], [], [], 0.2)[0]:
                self.screen += os.read(self.master, 1 << 16)

    def drawn(self):
        """Return what was drawn since, without colours and movements."""
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.screen.decode(errors="replace"))

    def press(self, key):
        os.write(self.master, key)


def test_top_draws_waits_for_a_server_that_is_away_and_ends_by_ctrl_c(web):
    terminal = Terminal(web.directory.root)
    try:
        terminal.wait_for("step 2")
        web.kill_9()
        terminal.wait_for("not responded for")
        web.start()
        terminal.wait_for("held-out greedy: accuracy 50.0%")
        terminal.wait_for("ralo sample and ralo train")
        assert "not responded" not in terminal.drawn().rpartition("RALO run")[2]
        terminal.press(b"\x03")
        terminal.wait_for("\x1b[?1049l")  # the screen that was there before is back
        assert terminal.process.wait(PATIENCE) == 0
        assert b"Traceback" not in terminal.screen
    finally:
        terminal.process.kill()
        os.close(terminal.master)


def test_top_says_that_it_needs_a_terminal(tmp_path):
    assert "ralo status prints the state once" in ralo("top", tmp_path, code=1)
