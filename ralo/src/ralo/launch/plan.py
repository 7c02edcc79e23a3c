"""What is to run: the commands of orchestrator, samplers and trainers, for every launcher.

Each launcher brings the same plan to its machines. Workers are told the run's directory, where they
find the orchestrator's URL and their token, also after the orchestrator has moved.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import attrs

from ralo_core.config import LaunchSettings
from ralo_core.config.launching import TrainerJobs

HOST, HEAD, PORT, JOB, NODE = (
    f"${{ralo_{name}}}" for name in ("host", "head", "port", "job", "node")
)
"""Stand in commands for what only the machine knows on which they run, see `Process.on`."""


@attrs.frozen(kw_only=True)
class Process:
    """A ``ralo`` command, without the word ``ralo``, and the variables it runs with. Its log is
    called `name`."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = attrs.field(factory=dict)

    def on(self, place: Mapping[str, str]) -> "Process":
        """Return the process with what `place` says for each ``${ralo_...}``."""
        return attrs.evolve(
            self,
            name=Template(self.name).safe_substitute(place),
            arguments=[Template(word).safe_substitute(place) for word in self.arguments],
        )


@attrs.frozen(kw_only=True)
class Plan:
    """A run in `run_dir`, an absolute path; `serve_options` are those of ``ralo serve`` beside."""

    run_dir: Path
    serve_options: Sequence[str]
    settings: LaunchSettings

    def orchestrator(self, *more: str) -> Process:
        """Return the orchestrator, with `more` options."""
        options = ["--run-dir", str(self.run_dir), "--hide-tokens", "--until-finished"]
        return Process(
            name="serve",
            arguments=["serve", *options, *self.serve_options, *more],
            environment=self.settings.orchestrator.environment,
        )

    def samplers(self) -> list[Process]:
        """Return every sampler."""
        jobs = self.settings.samplers
        return [
            Process(
                name=f"sample-{index}",
                arguments=["sample", "--server", str(self.run_dir)],
                environment=jobs.environment,
            )
            for index in range(jobs.count)
        ]

    def trainers(self) -> list[Process]:
        """Return every trainer: the process that starts its ranks on each of its machines."""
        jobs = self.settings.trainers
        place = f"-{NODE}" if jobs.nodes > 1 else ""
        return [
            Process(
                name=f"train-{index}{place}",
                arguments=["train", "--server", str(self.run_dir), *rank_options(jobs)],
                environment=jobs.environment,
            )
            for index in range(jobs.count)
        ]


def rank_options(jobs: TrainerJobs) -> list[str]:
    """Return the options of ``ralo train`` for its ranks; none for a single process."""
    options = ["--nproc", str(jobs.processes)] if jobs.processes > 1 or jobs.nodes > 1 else []
    if jobs.nodes > 1:
        options += ["--nnodes", str(jobs.nodes), "--rdzv-id", JOB]
        options += ["--rdzv-endpoint", f"{HEAD}:{PORT}"]
    return options
