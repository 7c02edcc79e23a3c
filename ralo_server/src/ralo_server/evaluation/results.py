"""The result of an evaluation whose responses are all there, and the file of both.

A `Concluder` is called for the last shard; the store commits what it returns. ``/eval/results``
gives the result, ``/eval/rows`` the responses.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_core.data import ItemResponses, Problem
from ralo_core.files.atomic import sync, write_blob
from ralo_core.protocols import Benchmark
from ralo_server.evaluation import Estimate, ItemResult, estimates
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.evaluation.shards import CompletedEvaluation, Conclusion

log = logging.getLogger(__name__)


@attrs.frozen
class Concluder:
    """Concludes evaluations by the benchmarks `benchmarks` of the run in `directory`."""

    benchmarks: Mapping[str, Benchmark]
    directory: RunDirectory

    def __call__(self, evaluation: CompletedEvaluation) -> Conclusion:
        """Return the result of `evaluation`; nothing is written before `keep` is called."""
        items = [self._item(evaluation, *pair) for pair in _pairs(evaluation)]
        metrics = _metrics(evaluation, items)
        result = {
            "version": evaluation.version,
            "step": evaluation.step,
            "benchmark": evaluation.benchmark,
            "items": len(items),
            "samples": evaluation.plan.settings.samples,
            "time": time.time(),
            "seconds": time.time() - evaluation.started,
            "tokens": sum(sum(responses.tokens) for responses in evaluation.responses),
            "metrics": {name: attrs.asdict(estimate) for name, estimate in metrics.items()},
        }
        rows = [
            _row(item, responses)
            for item, responses in zip(items, evaluation.responses, strict=True)
        ]
        return Conclusion(result=result, keep=lambda: self._keep(result, rows))

    def _item(
        self, evaluation: CompletedEvaluation, problem: Problem, responses: ItemResponses
    ) -> ItemResult:
        benchmark = self.benchmarks[evaluation.benchmark]
        return ItemResult(
            problem=problem,
            reference=_reference(benchmark, problem),
            predictions=tuple(_prediction(benchmark, problem, text) for text in responses.texts),
            correct=responses.correct,
            texts=responses.texts,
        )

    def _keep(self, result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        path = self.directory.evaluation_file(result["version"], result["benchmark"])
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**result, "rows": rows}, indent=1, ensure_ascii=False)
        write_blob(path, text.encode("utf-8", "replace"))
        sync(path.parent)


def read_rows(directory: RunDirectory, version: int, benchmark: str) -> list[dict[str, Any]]:
    """Return the responses of an evaluation item by item; raises `OSError` or `ValueError` where
    the file is gone or damaged."""
    path = directory.evaluation_file(version, benchmark)
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def _pairs(evaluation: CompletedEvaluation) -> Sequence[tuple[Problem, ItemResponses]]:
    return list(zip(evaluation.items, evaluation.responses, strict=True))


def _metrics(
    evaluation: CompletedEvaluation, items: Sequence[ItemResult]
) -> Mapping[str, Estimate]:
    """Return every metric that can be computed: one that fails must not cost the others, nor the
    responses."""
    settings = evaluation.plan.settings
    found: dict[str, Estimate] = {}
    for name in settings.metrics:
        try:
            found |= estimates([name], items, settings.seed)
        except Exception:  # noqa: BLE001 (a metric may be a function of the user's own)
            log.exception("metric %s of %s cannot be computed", name, evaluation.benchmark)
    return found


def _prediction(benchmark: Benchmark, problem: Problem, text: str) -> str:
    try:
        return benchmark.prediction(problem, text)
    except Exception:  # noqa: BLE001 (benchmarks are plugins)
        log.exception("no prediction of a response to %s", problem.id)
        return ""


def _reference(benchmark: Benchmark, problem: Problem) -> str:
    try:
        return benchmark.reference(problem)
    except Exception:  # noqa: BLE001 (benchmarks are plugins)
        log.exception("no reference of %s", problem.id)
        return problem.answer


def _row(item: ItemResult, responses: ItemResponses) -> dict[str, Any]:
    return {
        "problem_id": item.problem.id,
        "prompt": item.problem.prompt,
        "answer": item.problem.answer,
        "predictions": list(item.predictions),
        "correct": list(item.correct),
        "texts": list(item.texts),
        "tokens": list(responses.tokens),
        "finish_reasons": list(responses.finish_reasons),
        "reason": responses.reason,
    }
