"""What ralo-server registers, as import paths: importing this module loads no torch.

Neighbours: `ralo_core.registry` calls these hooks once and imports a factory on first use.
"""

from ralo_core import Command, Component, hookimpl


@hookimpl
def ralo_register_problem_providers() -> list[Component]:
    """Register `huggingface`."""
    return [
        Component(
            name="huggingface",
            factory="ralo_server.problems.huggingface:HuggingFaceProvider",
            config="ralo_server.problems.huggingface:HuggingFaceSettings",
            summary="problems from the Hub or local files, through the datasets library",
        )
    ]


@hookimpl
def ralo_register_aggregation_policies() -> list[Component]:
    """Register `token_mean`, `staleness_mean`, `trimmed_mean` and `diloco`."""
    return [
        Component(
            name="token_mean",
            factory="ralo_server.policies.aggregation:TokenMean",
            summary="mean of the gradients, weighted by their trained tokens",
        ),
        Component(
            name="staleness_mean",
            factory="ralo_server.policies.aggregation:StalenessMean",
            config="ralo_server.policies.settings:StalenessMeanSettings",
            summary="token mean that counts old gradients less and leaves out the oldest",
        ),
        Component(
            name="diloco",
            factory="ralo_server.policies.aggregation:Diloco",
            config="ralo_server.policies.settings:DilocoSettings",
            summary="mean of the ways that trainers went in local steps",
        ),
        Component(
            name="trimmed_mean",
            factory="ralo_server.policies.aggregation:TrimmedMean",
            config="ralo_server.policies.settings:TrimmedMeanSettings",
            summary="coordinate-wise mean without the extremes: robust to a few bad gradients",
        ),
    ]


@hookimpl
def ralo_register_optimizer_policies() -> list[Component]:
    """Register `adamw`, `sgd`, `nesterov` and `lion`."""
    return [
        Component(
            name="adamw",
            factory="ralo_server.policies.adamw:AdamW",
            config="ralo_server.policies.settings:AdamWSettings",
            summary="AdamW with warm-up, schedule and clipping by the global norm",
        ),
        Component(
            name="sgd",
            factory="ralo_server.policies.sgd:Sgd",
            config="ralo_server.policies.settings:SgdSettings",
            summary="gradient descent with momentum; no state without it",
        ),
        Component(
            name="nesterov",
            factory="ralo_server.policies.nesterov:Nesterov",
            config="ralo_server.policies.settings:NesterovSettings",
            summary="Nesterov momentum over local steps, the outer step of DiLoCo",
        ),
        Component(
            name="lion",
            factory="ralo_server.policies.lion:Lion",
            config="ralo_server.policies.settings:LionSettings",
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
def ralo_register_evaluators() -> list[Component]:
    """Register the built-in benchmarks."""
    return [
        _benchmark("aime24", "mathematics:Aime24", "CompetitionSettings", "AIME 2024, 30 problems"),
        _benchmark("aime25", "mathematics:Aime25", "CompetitionSettings", "AIME 2025, 30 problems"),
        _benchmark("amc23", "mathematics:Amc23", "CompetitionSettings", "AMC 2023, 40 problems"),
        _benchmark("math500", "mathematics:Math500", "MathSettings", "500 problems of MATH"),
        _benchmark(
            "gsm8k", "mathematics:Gsm8k", "MathSettings", "GSM8K's test set, 1,319 problems"
        ),
        _benchmark(
            "olympiadbench",
            "mathematics:OlympiadBench",
            "MathSettings",
            "olympiad mathematics with an answer, 675 problems",
        ),
        _benchmark(
            "gpqa", "gpqa:Gpqa", "GpqaSettings", "GPQA Diamond, 198 questions with four choices"
        ),
        _benchmark(
            "jsonl", "own_set:JsonlBenchmark", "OwnSetSettings", "a JSON-lines file of your own"
        ),
        _benchmark(
            "huggingface",
            "own_set:HuggingFaceBenchmark",
            "OwnHuggingFaceSettings",
            "a data set of the Hub, or local, through the datasets library",
        ),
        _benchmark(
            "arithmetic",
            "arithmetic:ArithmeticBenchmark",
            "ArithmeticBenchmarkSettings",
            "held-out sums of the embedded task",
        ),
    ]


def _benchmark(name: str, factory: str, settings: str, summary: str) -> Component:
    module = f"ralo_server.benchmarks.{factory}"
    return Component(
        name=name,
        factory=module,
        config=f"{module.partition(':')[0]}:{settings}",
        summary=summary,
    )


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
            summary="Check a run directory, and mend what can be mended.",
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
