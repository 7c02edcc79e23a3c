"""The task library: problems, rewards and benchmarks that need no plugin of the user's own.

Hooks name import paths, so that registering loads neither `datasets` nor math-verify nor torch.
"""

from ralo_core import Command, Component, hookimpl


@hookimpl
def ralo_register_problem_providers() -> list[Component]:
    """Register `arithmetic`, `jsonl` and `huggingface`."""
    return [
        Component(
            name="arithmetic",
            factory="ralo_tasks.arithmetic:ArithmeticProvider",
            config="ralo_tasks.arithmetic:ArithmeticSettings",
            summary="generated chained additions, graded by difficulty; the embedded default",
        ),
        Component(
            name="jsonl",
            factory="ralo_tasks.records.jsonl:JsonlProvider",
            config="ralo_tasks.records.jsonl:JsonlSettings",
            summary="problems from JSON-lines files, with field mapping",
        ),
        Component(
            name="huggingface",
            factory="ralo_tasks.records.huggingface:HuggingFaceProvider",
            config="ralo_tasks.records.huggingface:HuggingFaceSettings",
            summary="problems from the Hub or local files, through the datasets library",
        ),
    ]


@hookimpl
def ralo_register_rewards() -> list[Component]:
    """Register `arithmetic`, `exact`, `choice`, `format`, `overlong`, `function` and `math`."""
    return [
        Component(
            name="arithmetic",
            factory="ralo_tasks.rewards.basic:ArithmeticReward",
            summary="1 if the number behind the last '#' is the sum, else 0",
        ),
        Component(
            name="exact",
            factory="ralo_tasks.rewards.basic:ExactReward",
            config="ralo_tasks.rewards.basic:ExactSettings",
            summary="1 if the answer equals the reference, else 0",
        ),
        Component(
            name="choice",
            factory="ralo_tasks.rewards.choice:ChoiceReward",
            config="ralo_tasks.rewards.choice:ChoiceSettings",
            summary="1 if the answer chooses the letter of the reference, else 0",
        ),
        Component(
            name="format",
            factory="ralo_tasks.rewards.basic:FormatReward",
            config="ralo_tasks.rewards.basic:FormatSettings",
            summary="1 if the whole answer matches a regular expression, else 0",
        ),
        Component(
            name="overlong",
            factory="ralo_tasks.rewards.basic:OverlongReward",
            config="ralo_tasks.rewards.basic:OverlongSettings",
            summary="0, falling to -1 where a response comes near the token limit",
        ),
        Component(
            name="function",
            factory="ralo_tasks.rewards.basic:FunctionReward",
            config="ralo_tasks.rewards.basic:FunctionSettings",
            summary="any function of your own, named as module:function",
        ),
        Component(
            name="math",
            factory="ralo_tasks.rewards.math:MathReward",
            config="ralo_tasks.rewards.settings:MathSettings",
            summary="1 if math-verify finds the answer equal to the reference, else 0",
        ),
    ]


@hookimpl
def ralo_register_benchmarks() -> list[Component]:
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
    module = f"ralo_tasks.benchmarks.{factory}"
    return Component(
        name=name,
        factory=module,
        config=f"{module.partition(':')[0]}:{settings}",
        summary=summary,
    )


@hookimpl
def ralo_register_commands() -> list[Command]:
    """Register `model`."""
    return [
        Command(
            name="model",
            target="ralo_tasks.tiny_model.command:model",
            summary="Make the embedded tiny model.",
        ),
    ]
