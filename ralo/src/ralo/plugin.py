"""The commands that operate a run, as import paths: registering imports none of them."""

from ralo_core import Command, hookimpl


@hookimpl
def ralo_register_commands() -> list[Command]:
    """Register the commands that start, watch and end a run."""
    return [
        Command(
            name="run",
            target="ralo.cli.run:run",
            summary="Train on this machine: orchestrator, samplers and trainers together.",
        ),
        Command(
            name="eval",
            target="ralo.cli.eval:evaluate",
            summary="Ask benchmarks of a model, or of a version of a running run.",
        ),
        Command(
            name="status",
            target="ralo.cli.status:status",
            summary="Show how a run is: progress, queues, workers.",
        ),
        Command(
            name="top",
            target="ralo.cli.top:top",
            summary="Watch a run live, full screen.",
        ),
        Command(
            name="show",
            target="ralo.cli.show:show",
            summary="Show rollouts, steps or evaluations of a run; one rollout as a tree.",
        ),
        Command(
            name="stop",
            target="ralo.cli.stop:stop",
            summary="Drain a run and finish it.",
        ),
        Command(
            name="logs",
            target="ralo.cli.logs:logs",
            summary="Show and follow the logs of a run's processes.",
        ),
        Command(
            name="launch",
            target="ralo.cli.launch:launch",
            summary="Start a run here or on a cluster, and the relays of weights beside it.",
        ),
    ]
