"""The supervisor against real processes."""

import os
import signal
import subprocess
import sys

from patience import wait_for

from ralo_core.supervise import Supervisor, describe_exit


def python(code):
    return [sys.executable, "-c", code]


def test_a_child_that_exits_with_zero_is_over_and_not_restarted(tmp_path):
    supervisor = Supervisor()
    child = supervisor.start("a", python("print('once')"), tmp_path / "a.log")
    wait_for(lambda: supervisor.poll() == [child])
    assert child.exit_code == 0
    assert child.log_path.read_text().count("once") == 1


def test_a_killed_child_is_restarted(tmp_path):
    supervisor = Supervisor()
    child = supervisor.start("a", python("import time; time.sleep(60)"), tmp_path / "a.log")
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.poll() == [] and child.process.pid != first)
    assert child.running
    supervisor.stop()
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_keeps_failing_is_given_up_with_its_code_and_log(tmp_path):
    supervisor = Supervisor(max_failures=1)
    child = supervisor.start(
        "a", python("import sys; print('why'); sys.exit(3)"), tmp_path / "a.log"
    )
    wait_for(lambda: supervisor.poll() == [child])
    assert child.exit_code == 3
    assert child.log_tail().splitlines() == ["why", "why"]


def test_a_supervisor_without_a_limit_never_gives_a_child_up(tmp_path):
    supervisor = Supervisor(max_failures=None)
    child = supervisor.start(
        "a", python("import sys; print('why'); sys.exit(3)"), tmp_path / "a.log"
    )
    wait_for(lambda: supervisor.poll() == [] and child.failures == 3)
    assert child.running
    supervisor.stop()


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace_time(tmp_path):
    supervisor = Supervisor()
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: 0); print('up');"
        "time.sleep(60)"
    )
    child = supervisor.start("a", python(code), tmp_path / "a.log")
    wait_for(lambda: "up" in child.log_tail())
    supervisor.stop(grace=0.5)
    assert describe_exit(child.exit_code) == "signal SIGKILL"


def test_children_end_when_their_supervisor_is_killed(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from ralo_core.supervise import Supervisor\n"
        "child = Supervisor().start('a', [sys.executable, '-c', 'import time; time.sleep(60)'],"
        f" pathlib.Path({str(tmp_path / 'a.log')!r}))\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(pid))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
