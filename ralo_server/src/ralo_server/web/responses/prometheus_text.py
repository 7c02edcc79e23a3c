"""The state of a run as Prometheus reads it: gauges and counters whose names begin with ``ralo_``.

They are read from the store, as ``/stats`` is, and not counted in the process: so every web process
says the same and a restart loses no count. `docs/metrics.md` lists the names.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ralo_core.messages.stats import GradientCounts, RunStats, TrackerBacklog, WorkerStats
from ralo_server.store.run_state import DRAINING, EVALUATING, FINISHED, RUNNING

_STATES = (RUNNING, DRAINING, EVALUATING, FINISHED)


def exposition(state: RunStats, step: Mapping[str, float]) -> bytes:
    """Return the text; `step` has the metrics of the last step."""
    registry = CollectorRegistry()
    registry.register(_Run(state, step))
    return generate_latest(registry)


@attrs.frozen(eq=False)
class _Run(Collector):
    """Collected once; a registry wants to know it by itself, not by what it holds."""

    state: RunStats
    step: Mapping[str, float]

    def collect(self) -> Iterator[Metric]:
        yield from _progress(self.state)
        yield from _work(self.state)
        yield from _gradients(self.state.gradients)
        yield _workers(self.state.workers)
        yield from _trackers(self.state.trackers)
        yield _gauge("step_metric", "A metric of the last optimizer step.", "name", self.step)
        yield from _evaluations(self.state)


def _progress(state: RunStats) -> Iterator[Metric]:
    names = {"run": state.run, "recipe": state.recipe, "model": state.model}
    yield InfoMetricFamily("ralo_run", "Which run this is.", value=names)
    states = {str(name): float(name == state.state) for name in _STATES}
    yield _gauge("run_state", "1 for the state that the run is in.", "state", states)
    for name, text, value in (
        ("step", "Optimizer steps taken.", state.step),
        ("version", "The newest weight version.", state.version),
        ("elapsed_seconds", "Seconds of work, pauses between starts not counted.",
         state.elapsed_seconds),
        ("started_time_seconds", "When the run was made, unix time.", state.started),
    ):  # fmt: skip
        yield GaugeMetricFamily(f"ralo_{name}", text, value=value)


def _work(state: RunStats) -> Iterator[Metric]:
    problems, trees = state.problems, state.trees
    yield _gauge("problems", "Problems by state.", "state", _counts(problems, "waiting leased"))
    yield _counter("problems_ended", "Problems that are over, by outcome.", "outcome",
                   _counts(problems, "done failed"))  # fmt: skip
    yield _gauge("trees", "Rollout trees by state.", "state", _counts(trees, "queued leased"))
    yield _counter("trees_ended", "Rollout trees that are over, by outcome.", "outcome",
                   _counts(trees, "trained skipped"))  # fmt: skip
    yield GaugeMetricFamily(
        "ralo_trees_capacity", "Trees that may wait for a trainer.", value=trees.capacity
    )
    leases = {
        "problem": problems.leased,
        "batch": state.batches.leased,
        "evaluation": state.evaluation.leased,
    }
    yield _gauge("leases", "Work that is leased, by kind.", "kind", leases)
    yield _counter("tokens", "Tokens, decoded and trained on.", "what", attrs.asdict(state.tokens))
    yield _counter(
        "rollouts", "Rollouts, sampled and trained on.", "what", attrs.asdict(state.rollouts)
    )


def _gradients(gradients: GradientCounts) -> Iterator[Metric]:
    waiting = _counts(gradients, "receiving pending")
    yield _gauge("gradients", "Gradient uploads by state.", "state", waiting)
    ended = _counts(gradients, "applied left_out abandoned discarded")
    text = "Gradient uploads that are over, by outcome."
    yield _counter("gradients_ended", text, "outcome", ended)
    text = "Gradient uploads that were refused when they came in, by reason."
    yield _counter("gradients_refused", text, "reason", gradients.refused_by_reason)


def _workers(workers: Sequence[WorkerStats]) -> Metric:
    family = GaugeMetricFamily(
        "ralo_workers", "Workers by role and state.", labels=("role", "state")
    )
    for key, count in sorted(Counter((w.role, w.state) for w in workers).items()):
        family.add_metric(key, count)
    return family


def _trackers(trackers: Mapping[str, TrackerBacklog]) -> Iterator[Metric]:
    waiting = {name: float(backlog.waiting) for name, backlog in trackers.items()}
    text = "Records that a tracker has not taken yet."
    yield _gauge("tracker_records_waiting", text, "tracker", waiting)
    seconds = {name: backlog.seconds for name, backlog in trackers.items()}
    text = "How long the oldest of them has been waiting."
    yield _gauge("tracker_behind_seconds", text, "tracker", seconds)


def _evaluations(state: RunStats) -> Iterator[Metric]:
    """Yield the newest result of each benchmark, of which version it is, and what is under way."""
    shards = _counts(state.evaluation, "waiting leased")
    yield _gauge("evaluation_shards", "Shards of evaluations by state.", "state", shards)
    latest = {
        result.benchmark: result
        for result in state.evaluations  # in order, so the newest of each stays
        if not result.abandoned
    }
    value = GaugeMetricFamily(
        "ralo_evaluation", "The newest result of a benchmark.", labels=("benchmark", "metric")
    )
    for benchmark, result in latest.items():
        for metric, estimate in result.metrics.items():
            value.add_metric((benchmark, metric), estimate.value)
    yield value
    versions = {benchmark: result.version for benchmark, result in latest.items()}
    text = "The version that the newest result of a benchmark is of."
    yield _gauge("evaluation_version", text, "benchmark", versions)


def _counts(counts: object, names: str) -> Mapping[str, float]:
    return {name: getattr(counts, name) for name in names.split()}


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"ralo_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"ralo_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
