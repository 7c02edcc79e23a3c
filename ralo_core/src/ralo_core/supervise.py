"""Child processes that belong together: started, watched, restarted, stopped as one.

``ralo run`` supervises serve, sample and train in this way, ``ralo serve`` the web processes and
the learner. A supervisor knows processes and log files, nothing of what runs in them. The signals
by which a process is asked to end are here as well.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import attrs

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_LASTING_SECONDS = 20.0
_LONGEST_DELAY_SECONDS = 2.0


@attrs.define(kw_only=True)
class Child:
    """One supervised process. `failures` counts exits in quick succession."""

    name: str
    argv: Sequence[str]
    log_path: Path
    restart: bool
    environment: Mapping[str, str]
    pass_fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0
    exit_code: int | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive or waits to be restarted."""
        return self.exit_code is None

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of the log, for an error message."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def log_end(self) -> str:
        """Return where the log is and how it ends."""
        return f"{self.log_path} ends with:\n{self.log_tail()}"

    def exit_report(self) -> str:
        """Return how the process failed, with the end of its log."""
        return f"{self.name} failed ({describe_exit(self.exit_code or 0)}); {self.log_end()}"


@attrs.define
class Supervisor:
    """Starts children, restarts those that die too early, and stops them in reverse order.

    A child that exits with 0 is done. One that was started with ``restart=True`` and fails is
    started again after 0.5, 1 and then 2 seconds; after `max_failures` exits within 20 s of their
    start it is given up, and its exit code stands. With None it never is.
    """

    max_failures: int | None = 4
    children: dict[str, Child] = attrs.field(factory=dict, init=False)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        log_path: Path,
        *,
        restart: bool = True,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Child:
        """Start a child whose output is appended to `log_path`; it inherits `pass_fds`."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        child = Child(
            name=name,
            argv=list(argv),
            log_path=log_path,
            restart=restart,
            environment={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            pass_fds=pass_fds,
        )
        self.children[name] = child
        self._spawn(child)
        return child

    def poll(self) -> list[Child]:
        """Restart what has to be restarted; return the children that are over."""
        for child in self.children.values():
            if child.running:
                self._check(child)
        return [child for child in self.children.values() if not child.running]

    def stop(self, grace: float = 20.0) -> None:
        """Send SIGTERM to all, last started first, and SIGKILL to what is left after `grace` s."""
        alive = [child for child in reversed(self.children.values()) if _alive(child)]
        for child in alive:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in alive:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop within %g s and is killed", child.name, grace)
                _signal(child, signal.SIGKILL)
                child.process.wait()
            child.exit_code = child.process.returncode

    def _spawn(self, child: Child) -> None:
        with child.log_path.open("ab") as output:
            child.process = subprocess.Popen(
                child.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(child.environment),
                pass_fds=child.pass_fds,
                # Ctrl-C in the terminal must reach the supervisor alone, which stops in order.
                process_group=0,
                preexec_fn=partial(die_with, os.getpid()) if sys.platform == "linux" else None,
            )
        child.started, child.restart_at = time.monotonic(), 0.0

    def _check(self, child: Child) -> None:
        if child.restart_at:
            if time.monotonic() >= child.restart_at:
                self._spawn(child)
            return
        assert child.process is not None
        code = child.process.poll()
        if code is None:
            return
        lasted = time.monotonic() - child.started
        child.failures = 1 if lasted > _LASTING_SECONDS else child.failures + 1
        if code == 0 or not child.restart or self._gives_up(child):
            child.exit_code = code
            return
        delay = min(_LONGEST_DELAY_SECONDS, 0.5 * 2 ** min(child.failures - 1, 8))
        child.restart_at = time.monotonic() + delay
        log.warning("%s ended with %s; restarting in %g s", child.name, describe_exit(code), delay)

    def _gives_up(self, child: Child) -> bool:
        return self.max_failures is not None and child.failures > self.max_failures


def describe_exit(code: int) -> str:
    """Return ``exit code 3`` or ``signal SIGKILL``."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What asks a process to end in order; schedulers send SIGUSR1 before they take a machine back."""


class StopSignal:
    """A flag that is truthy once one of the `STOP_SIGNALS` has come. Its handlers stay set."""

    def __init__(self) -> None:
        self.received = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._receive)

    def __bool__(self) -> bool:
        return self.received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def take_interrupts() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` also if the parent process has set SIGINT to ignored.

    ``nohup``, ``&`` in a script and some CI runners do that, and a child inherits it. Without
    effect where SIGINT has a handler, and outside the main thread, which alone can set one.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _alive(child: Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _signal(child: Child, number: signal.Signals) -> None:
    assert child.process is not None
    try:
        child.process.send_signal(number)
    except ProcessLookupError:
        return  # it ended between the check and the signal


def die_with(parent: int) -> None:
    """Have the kernel end this child when the supervisor, process `parent`, is killed with -9."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # it was killed before the kernel had heard of this
