"""The contract of benchmarks: the same items every time, and a prediction of any text."""

import json

from ralo_core.data import Problem
from ralo_core.options.benchmarks import BenchmarkSettings
from ralo_core.protocols import Benchmark

_TEXTS = ("2", "", r"so \boxed{2}", r"\boxed{", "Answer: B", "두 개입니다 🙂", "{" * 50, "x" * 5000)


def check_benchmark(benchmark: Benchmark) -> None:
    """Check `benchmark`, whose data must be there."""
    settings: object = benchmark.settings
    assert isinstance(settings, BenchmarkSettings), (
        f"settings must be BenchmarkSettings or inherit from it, not {type(settings).__name__}"
    )
    grader: object = benchmark.grader
    assert isinstance(grader, str), "grader must be the name of a reward component"
    assert grader.isidentifier(), f"grader must be the name of a reward component, got {grader!r}"
    items = list(benchmark.items())
    _check_items(items, settings)
    assert list(benchmark.items()) == items, "items() must return the same every time"
    for text in _TEXTS:
        _check_prediction(benchmark, items[0], text)
    for item in items[:20]:
        reference: object = benchmark.reference(item)
        assert isinstance(reference, str), f"reference() must return text, got {reference!r}"


def _check_items(items: list[Problem], settings: BenchmarkSettings) -> None:
    assert items, "a benchmark must have at least one item"
    for item in items:
        assert isinstance(item, Problem), f"an item must be a Problem, not {type(item)}"
        assert item.prompt, f"item {item.id!r} asks nothing"
        json.dumps(dict(item.metadata))
    ids = [item.id for item in items]
    assert len(set(ids)) == len(ids), "the ids of items must be unique within a benchmark"
    assert settings.chosen(items) == items, (
        "items() must keep to the option limit: return settings.chosen(items)"
    )


def _check_prediction(benchmark: Benchmark, item: Problem, text: str) -> None:
    prediction: object = benchmark.prediction(item, text)
    assert isinstance(prediction, str), (
        f"prediction() must return text, '' where there is none; got {prediction!r} for "
        f"{text[:40]!r}"
    )
    again = benchmark.prediction(item, text)
    assert again == prediction, "prediction() must return the same for the same text"
