"""What runs inside a job of a scheduler: a process of the plan, ended in order when preempted.

submitit calls the job, and `checkpoint` on the signal that comes before the end of the allocation:
then the job is requeued and the same process starts again.
"""

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ralo.launch.plan import Process
from ralo.launch.processes import Processes
from ralo_core.access import FINISHED_FILE

JOBS_FILE = "jobs.txt"
"""The ids of the workers' jobs in the run directory, one a line."""

_PORTS = range(20000, 30000)
_POLL_SECONDS = 0.1


@attrs.define
class Job:
    """`process` of the run in `run_dir`. When the one that `ends_the_run` has ended because the run
    is finished, the workers' jobs are cancelled: some may still wait in the queue."""

    run_dir: Path
    process: Process
    ends_the_run: bool = False
    _running: Processes | None = attrs.field(default=None, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _failure: list[BaseException] = attrs.field(factory=list, init=False)

    def __call__(self) -> None:
        """Run the process until it ends; raises what made that impossible."""
        self._running = Processes(self.run_dir, [self.process.on(place())])
        # In a thread: the signal comes to the main one, whatever lock that holds then.
        self._thread = threading.Thread(target=self._run, name="ralo-process")
        self._thread.start()
        self._wait()
        if self._failure:
            raise self._failure[0]
        # An orchestrator that was only told to end is started again, and needs its workers.
        if self.ends_the_run and (self.run_dir / FINISHED_FILE).exists():
            cancel_jobs(self.run_dir)

    def checkpoint(self) -> Any:
        """End the process in order; return what submitit starts when the job runs again."""
        from submitit.helpers import DelayedSubmission

        if self._running is not None:
            self._running.end()
            self._wait()
        return DelayedSubmission(Job(self.run_dir, self.process, self.ends_the_run))

    def _run(self) -> None:
        assert self._running is not None
        try:
            self._running.run()
        except BaseException as error:  # noqa: BLE001 (it is raised where the scheduler sees it)
            self._failure.append(error)

    def _wait(self) -> None:
        while self._thread is not None and self._thread.is_alive():
            time.sleep(_POLL_SECONDS)


def place(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return where this job runs, for `Process.on`: this machine, the first of the job's machines,
    a port there, the job's id, this machine's number."""
    job = environment.get("SLURM_JOB_ID", "0")
    host = socket.gethostname()
    return {
        "ralo_host": host,
        "ralo_head": first_host(environment.get("SLURM_JOB_NODELIST", host)),
        "ralo_port": str(_PORTS[int(job) % len(_PORTS)]),
        "ralo_job": job,
        "ralo_node": environment.get("SLURM_NODEID", "0"),
    }


def first_host(nodes: str) -> str:
    """Return the first of SLURM's list of nodes, such as ``gpu[003-004,9],cpu1``."""
    found = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\])?([^,]*)", nodes)
    if found is None:
        return nodes
    return "".join(part or "" for part in found.groups())


def cancel_jobs(run_dir: Path) -> None:
    """Cancel the workers' jobs: workers that ran have left, jobs that wait are not needed."""
    path = run_dir / JOBS_FILE
    if path.exists():
        subprocess.run(["scancel", *path.read_text(encoding="utf-8").split()], check=True)
