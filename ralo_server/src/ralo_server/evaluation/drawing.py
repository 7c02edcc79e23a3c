"""Draws the items of a run's benchmarks before it begins, and checks what can be checked.

Items that were drawn once stay the same: the results of one version are compared with another's.
"""

from collections.abc import Mapping, Sequence

import attrs

from ralo_core.config import Config
from ralo_core.data import Problem
from ralo_core.errors import ConfigError, UnknownComponentError
from ralo_core.protocols import Benchmark
from ralo_server.evaluation import load_scores
from ralo_server.evaluation.run_benchmarks import HELD_OUT, benchmarks_of, plan_of
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.database import Database
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.evaluation.evaluations import use_benchmarks


@attrs.frozen(kw_only=True)
class Drawn:
    """The plans of a run's benchmarks, and the items of those that have none yet."""

    plans: dict[str, Plan]
    items: Mapping[str, Sequence[Problem]]

    @property
    def graders(self) -> list[str]:
        """The reward components that samplers grade by, each once."""
        return list(dict.fromkeys(plan.grader for plan in self.plans.values()))

    def write(self, benchmarks: Benchmarks) -> None:
        """Let the run have these benchmarks."""
        for name, items in self.items.items():
            if not benchmarks.size(name):
                benchmarks.draw(name, items)
        use_benchmarks(benchmarks.database, self.plans)


def checked_benchmarks(directory: RunDirectory, config: Config) -> Drawn:
    """Return the benchmarks of `config` for the run in `directory`, new or not.

    Raises `ConfigError` for a grader or a metric that there is not and for a benchmark without
    items, and whatever a benchmark raises whose data cannot be had.
    """
    benchmarks = dict(benchmarks_of(config))
    _check_metrics(config, benchmarks)  # before data sets are fetched, which may take minutes
    known = Benchmarks(Database(directory.state)) if directory.state.exists() else None
    items = {
        name: benchmark.items()
        for name, benchmark in benchmarks.items()
        if known is None or not known.size(name)
    }
    if HELD_OUT in items and not items[HELD_OUT]:
        del items[HELD_OUT], benchmarks[HELD_OUT]  # the provider has none to spare
    plans = {name: plan_of(config, benchmark) for name, benchmark in benchmarks.items()}
    faults = [
        f"benchmarks.{name}: {fault}"
        for name in benchmarks
        for fault in _faults(config, plans[name], items.get(name))
    ]
    if faults:
        raise ConfigError(faults)
    return Drawn(plans=plans, items=items)


def _check_metrics(config: Config, benchmarks: Mapping[str, Benchmark]) -> None:
    """Raise `ConfigError` for metrics that there are not; `RaloError` for one of the user's own
    that cannot be imported."""
    faults = []
    for name, benchmark in benchmarks.items():
        settings = plan_of(config, benchmark).settings
        try:
            load_scores(settings.metrics, settings.samples)
        except ValueError as error:
            faults.append(f"benchmarks.{name}: {error}")
    if faults:
        raise ConfigError(faults)


def _faults(config: Config, plan: Plan, items: Sequence[Problem] | None) -> list[str]:
    faults = []
    try:
        config.registry.find("reward", plan.grader)
    except UnknownComponentError as error:
        faults.append(f"its grader: {error}")
    correct = (config.data["reward"].get(plan.grader) or {}).get("correct", 1.0)
    if correct < 1.0:
        faults.append(
            f"its grader calls a response correct from 1 on, and reward.{plan.grader}.correct is "
            f"{correct}: leave that at 1 and set reward.weights.{plan.grader} = {correct}"
        )
    if items is not None and not items:
        faults.append("it has no items")
    names = [item.id for item in items or ()]
    if len(set(names)) < len(names):
        faults.append("two of its items have the same id")
    return faults
