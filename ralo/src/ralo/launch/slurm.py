"""A plan on SLURM, through submitit: one job for the orchestrator, an array of samplers, trainers.

Every job is requeued when it is preempted or its time is over. Workers have deregistered by then
and join again; the orchestrator continues its run directory, which all machines must see.
"""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from shlex import join, quote
from typing import Any

import attrs

from ralo.launch.job import JOBS_FILE, Job
from ralo.launch.plan import HOST, Plan
from ralo_core.config.launching import JobSettings
from ralo_core.errors import RaloError

JOBS_FOLDER = "jobs"
_SIGNAL = {"SUBMITIT_PREEMPT_SIGNAL": "USR1"}
_SIGNAL_SECONDS = 90
_ALWAYS = 10**6


@attrs.frozen(kw_only=True)
class Submission:
    """Jobs that are submitted together: one, or an array. `name` is the name in SLURM."""

    name: str
    jobs: Sequence[Job]
    settings: JobSettings
    nodes: int = 1

    def parameters(self) -> dict[str, Any]:
        """Return what submitit is told: its names for sbatch's options."""
        job = self.settings
        return {
            "job_name": self.name,
            "time": job.minutes,
            "nodes": self.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": job.cpus,
            "signal_delay_s": _SIGNAL_SECONDS,
            "stderr_to_stdout": True,
            "setup": [*job.setup, *(f"export {name}={word}" for name, word in _SIGNAL.items())],
            "additional_parameters": {"requeue": True, **job.options},
            **({"partition": job.partition} if job.partition else {}),
            **({"gpus_per_node": job.gpus} if job.gpus else {}),
            **({"mem": f"{job.memory_gb}GB"} if job.memory_gb else {}),
        }


def submissions(plan: Plan) -> list[Submission]:
    """Return what is submitted for `plan`, in this order."""
    settings, name = plan.settings, plan.run_dir.name
    # Where other machines can connect the orchestrator asks for tokens; they are in its directory.
    orchestrator = plan.orchestrator(
        *("--set", "server.host=0.0.0.0", "--set", "server.port=0"),
        *("--set", f"server.public_name={HOST}"),
    )
    serve = Job(plan.run_dir, orchestrator, ends_the_run=True)
    samplers = [Job(plan.run_dir, process) for process in plan.samplers()]
    # Each on its own: the machines of one trainer begin together, those of two need not.
    trainers = [[Job(plan.run_dir, process)] for process in plan.trainers()]
    trainer, nodes = settings.trainers, settings.trainers.nodes
    trainer = attrs.evolve(trainer, cpus=trainer.cpus * trainer.processes)
    return [
        Submission(name=f"{name}-serve", jobs=[serve], settings=settings.orchestrator),
        *(
            [Submission(name=f"{name}-sample", jobs=samplers, settings=settings.samplers)]
            if samplers
            else []
        ),
        *(
            Submission(name=f"{name}-train", jobs=jobs, settings=trainer, nodes=nodes)
            for jobs in trainers
        ),
    ]


def script(plan: Plan, submission: Submission) -> str:
    """Return the sbatch script of `submission`, with the commands of its jobs on top."""
    slurm = _submitit().slurm.slurm
    folder = plan.run_dir / JOBS_FOLDER
    count = len(submission.jobs)
    text: str = slurm._make_sbatch_string(
        command=f"{quote(sys.executable)} -u -m submitit.core._submit {quote(str(folder))}",
        folder=folder,
        map_count=count if count > 1 else None,
        **submission.parameters(),
    )
    commands = [f"# runs: ralo {join(job.process.arguments)}" for job in submission.jobs]
    return "\n".join([*commands, text])


def submit(plan: Plan) -> list[str]:
    """Submit everything; return the ids of the jobs, the orchestrator's first."""
    slurm = _submitit().slurm.slurm
    (plan.run_dir / "logs").mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    try:
        for submission in submissions(plan):
            executor = slurm.SlurmExecutor(plan.run_dir / JOBS_FOLDER, max_num_timeout=_ALWAYS)
            executor.update_parameters(**submission.parameters())
            with executor.batch():
                jobs = [executor.submit(job) for job in submission.jobs]
            ids += dict.fromkeys(job.job_id.partition("_")[0] for job in jobs)
    finally:
        if ids:
            (plan.run_dir / JOBS_FILE).write_text("\n".join(ids[1:]), encoding="utf-8")
    return ids


def _submitit() -> Any:
    """Return submitit, told to use SIGUSR1; raises `RaloError` with the pip command without it."""
    if find_spec("submitit") is None:
        msg = "SLURM jobs are submitted through submitit: pip install 'ralo[slurm]'"
        raise RaloError(msg)
    os.environ.update(_SIGNAL)  # read when it is imported
    import submitit.slurm.slurm

    return submitit
