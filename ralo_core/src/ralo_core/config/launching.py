"""The section ``[launch]``: what ``ralo launch`` starts, on what machines, with what around it.

A run itself does not read it.
"""

import attrs

from ralo_core.options.checks import at_least, positive
from ralo_core.options.setting import setting


@attrs.frozen(kw_only=True)
class JobSettings:
    """What every job can ask of a scheduler. Workers and everybody who may read the config see it:
    secrets belong in the environment from which jobs are submitted."""

    cpus: int = setting(2, "CPU cores of each process", positive)
    gpus: int = setting(0, "GPUs on each node", at_least(0))
    memory_gb: int = setting(
        0, "memory on each node, in GB; 0: what the scheduler gives", at_least(0)
    )
    minutes: int = setting(1440, "time limit of a SLURM job; it is requeued at its end", positive)
    partition: str = setting("", "SLURM partition; empty: its default")
    options: dict[str, str] = setting({}, "further sbatch options, e.g. {account = 'lab'}")
    setup: list[str] = setting([], "shell lines before a SLURM job, e.g. 'module load cuda'")
    environment: dict[str, str] = setting({}, "variables of the processes; no secrets")


@attrs.frozen(kw_only=True)
class SamplerJobs(JobSettings):
    """The samplers."""

    count: int = setting(1, "samplers; on SLURM an array of jobs", at_least(0))


@attrs.frozen(kw_only=True)
class TrainerJobs(JobSettings):
    """The trainers, each of one process or of several that compute each gradient together."""

    count: int = setting(1, "trainers that work independently of each other", at_least(0))
    nodes: int = setting(1, "machines of each trainer", positive)
    processes: int = setting(1, "processes of a trainer on each machine, one per GPU", positive)


@attrs.frozen(kw_only=True)
class KubernetesSettings:
    """What only ``ralo launch kubernetes`` needs."""

    image: str = setting("ralo:latest", "container image, see deploy/Containerfile")
    storage_gb: int = setting(100, "size of the volume of the run directory, in GB", positive)
    storage_class: str = setting("", "its storage class; empty: the cluster's default")
    secret: str = setting("ralo-tokens", "secret with the tokens: sampler, trainer, viewer, admin")


@attrs.frozen(kw_only=True)
class LaunchSettings:
    """``[launch]``: the jobs of ``ralo launch``."""

    orchestrator: JobSettings = setting(JobSettings(), "the orchestrator: CPU only")
    samplers: SamplerJobs = setting(SamplerJobs(), "the samplers")
    trainers: TrainerJobs = setting(TrainerJobs(), "the trainers")
    kubernetes: KubernetesSettings = setting(KubernetesSettings(), "for Kubernetes only")
