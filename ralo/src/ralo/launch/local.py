"""``python -m ralo.launch.local RUN_DIR``: a plan on this machine, without a terminal.

``ralo launch local`` calls `start`, which writes the plan down and starts a process that stays
until the run is over. ``ralo stop``, ``status`` and ``logs`` find it through the run directory,
like a run on a cluster.
"""

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import attrs

from ralo.launch.plan import Plan, Process
from ralo.launch.processes import Processes
from ralo_core.errors import RaloError
from ralo_core.structuring import structure, unstructure
from ralo_core.supervise import StopSignal

PLAN_FILE = "launch.json"


@attrs.frozen
class _Written:
    processes: list[Process]


def processes_of(plan: Plan) -> list[Process]:
    """Return all processes of `plan`; raises `RaloError` for one that needs several machines."""
    if plan.settings.trainers.nodes > 1:
        msg = "launch.trainers.nodes is above 1: on one machine, raise launch.trainers.processes"
        raise RaloError(msg)
    return [plan.orchestrator("--set", "server.port=0"), *plan.samplers(), *plan.trainers()]


def start(plan: Plan) -> Path:
    """Start `plan` in a session of its own, which outlives the terminal; return its log."""
    log_path = plan.run_dir / "logs" / "launch.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    written = json.dumps(unstructure(_Written(processes_of(plan))), indent=1)
    (plan.run_dir / PLAN_FILE).write_text(written, encoding="utf-8")
    with log_path.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "ralo.launch.local", str(plan.run_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return log_path


def _run(run_dir: Path) -> None:
    written = json.loads((run_dir / PLAN_FILE).read_text(encoding="utf-8"))
    processes = Processes(run_dir, structure(written, _Written).processes)
    stopped = StopSignal()
    running = threading.Thread(target=processes.run, name="ralo-processes")
    running.start()
    while running.is_alive():
        running.join(0.2)
        if stopped:
            processes.end()


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    _run(Path(sys.argv[1]))
