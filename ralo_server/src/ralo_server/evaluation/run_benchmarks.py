"""The benchmarks that a run asks: those of ``[benchmarks]``, and its own held-out problems."""

from collections.abc import Mapping, Sequence

import attrs

from ralo_core.components import BuildContext
from ralo_core.config import BenchmarkSettings, Config, EvaluationSettings
from ralo_core.data import Problem
from ralo_core.protocols import Benchmark, ProblemProvider
from ralo_server.store.evaluation.benchmarks import Plan

HELD_OUT = "held_out"
"""The implicit benchmark, which is there unless ``evaluation.problems`` is 0."""


@attrs.define(kw_only=True)
class HeldOut:
    """Problems that training never sees, asked greedily, graded by the run's first reward."""

    config: Config
    grader: str
    settings: BenchmarkSettings = attrs.field(factory=BenchmarkSettings)

    def items(self) -> Sequence[Problem]:
        """Return as many as ``evaluation.problems`` says, as far as the provider has them."""
        provider: ProblemProvider = self.config.build("problems", BuildContext(role="orchestrator"))
        return provider.held_out(self.config.section(EvaluationSettings).problems)

    def prediction(self, problem: Problem, text: str) -> str:
        """Return nothing: the reward looks at the whole response."""
        return ""

    def reference(self, problem: Problem) -> str:
        """Return the problem's answer as it stands."""
        return problem.answer


def benchmarks_of(config: Config) -> Mapping[str, Benchmark]:
    """Return the benchmarks of a run by name, the held-out problems first."""
    benchmarks: dict[str, Benchmark] = config.build_pipeline(
        "benchmarks", BuildContext(role="orchestrator")
    )
    if config.section(EvaluationSettings).problems:
        grader = config.data["reward"]["pipeline"][0]
        benchmarks = {HELD_OUT: HeldOut(config=config, grader=grader), **benchmarks}
    return benchmarks


def plan_of(config: Config, benchmark: Benchmark) -> Plan:
    """Return how a benchmark is asked and graded, without the options that are its own."""
    names = attrs.fields_dict(BenchmarkSettings)
    common = BenchmarkSettings(**{name: getattr(benchmark.settings, name) for name in names})
    if common.every_steps < 0:
        every = config.section(EvaluationSettings).every_steps
        common = attrs.evolve(common, every_steps=every)
    return Plan(grader=benchmark.grader, settings=common)
