"""What ralo-server registers, as import paths: importing this module loads no torch."""

from ralo_core import Command, Component, hookimpl


@hookimpl
def ralo_register_aggregators() -> list[Component]:
    """Register `token_mean`, `staleness_mean`, `trimmed_mean` and `diloco`."""
    return [
        Component(
            name="token_mean",
            factory="ralo_server.aggregators.means:TokenMean",
            summary="mean of the gradients, weighted by their trained tokens",
        ),
        Component(
            name="staleness_mean",
            factory="ralo_server.aggregators.means:StalenessMean",
            config="ralo_server.aggregators.settings:StalenessMeanSettings",
            summary="token mean that counts old gradients less and leaves out the oldest",
        ),
        Component(
            name="diloco",
            factory="ralo_server.aggregators.means:Diloco",
            config="ralo_server.aggregators.settings:DilocoSettings",
            summary="mean of how far trainers went in local steps",
        ),
        Component(
            name="trimmed_mean",
            factory="ralo_server.aggregators.means:TrimmedMean",
            config="ralo_server.aggregators.settings:TrimmedMeanSettings",
            summary="coordinate-wise mean without the extremes: robust to a few bad gradients",
        ),
    ]


@hookimpl
def ralo_register_optimizers() -> list[Component]:
    """Register `adamw`, `sgd`, `nesterov` and `lion`."""
    return [
        Component(
            name="adamw",
            factory="ralo_server.optimizers.adamw:AdamW",
            config="ralo_server.optimizers.settings:AdamWSettings",
            summary="AdamW with warm-up, schedule and clipping by the global norm",
        ),
        Component(
            name="sgd",
            factory="ralo_server.optimizers.sgd:Sgd",
            config="ralo_server.optimizers.settings:SgdSettings",
            summary="gradient descent with momentum; no state without it",
        ),
        Component(
            name="nesterov",
            factory="ralo_server.optimizers.nesterov:Nesterov",
            config="ralo_server.optimizers.settings:NesterovSettings",
            summary="Nesterov momentum over local steps, the outer step of DiLoCo",
        ),
        Component(
            name="lion",
            factory="ralo_server.optimizers.lion:Lion",
            config="ralo_server.optimizers.settings:LionSettings",
            summary="sign momentum: half the state of AdamW, a smaller learning rate",
        ),
    ]


@hookimpl
def ralo_register_trackers() -> list[Component]:
    """Register `wandb` and `tensorboard`."""
    return [
        Component(
            name="wandb",
            factory="ralo_server.trackers.weights_and_biases:WandbTracker",
            config="ralo_server.trackers.settings:WandbSettings",
            summary="a run at Weights & Biases, online or offline",
        ),
        Component(
            name="tensorboard",
            factory="ralo_server.trackers.tensorboard:TensorboardTracker",
            config="ralo_server.trackers.settings:TensorboardSettings",
            summary="event files for TensorBoard",
        ),
    ]


@hookimpl
def ralo_register_commands() -> list[Command]:
    """Register `serve`, `runs`, `rollback`, `doctor`, `export`, `plot` and `fit`."""
    return [
        Command(
            name="serve",
            target="ralo_server.cli.serve:serve",
            summary="Run the orchestrator: web processes and learner.",
        ),
        Command(
            name="runs",
            target="ralo_server.cli.runs:runs",
            summary="List run directories and how far each one is.",
        ),
        Command(
            name="rollback",
            target="ralo_server.cli.rollback:rollback",
            summary="Take a stopped run back to a version that is kept.",
        ),
        Command(
            name="doctor",
            target="ralo_server.cli.doctor:doctor",
            summary="Check a run directory, and repair what can be repaired.",
        ),
        Command(
            name="export",
            target="ralo_server.cli.export:export",
            summary="Write a version of a run as a Hugging Face model, or its adapter.",
        ),
        Command(
            name="plot",
            target="ralo_server.cli.plot:plot",
            summary="Draw the reward or other metrics of runs as a picture.",
        ),
        Command(
            name="fit",
            target="ralo_server.cli.fit:fit",
            summary="Fit a scaling law to the results of a run.",
        ),
    ]
