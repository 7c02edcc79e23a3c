"""The pluggy hook specifications: the whole surface a plugin can implement.

Registration hooks return what the config can name and are called once per process, plugin
by plugin; `ralo_core.kinds` says in which processes the components are built. Event hooks are
observers: each implementation is called in isolation, an exception in one is logged and never
stops the run, results are ignored. Nothing here is called in a hot loop. `docs/hooks.md` has an
example for every hook.
"""

from collections.abc import Iterable, Mapping

import pluggy

from ralo_core.components import Command, Component, Recipe

PROJECT = "ralo"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

RENAMED = {
    "ralo_register_evaluators": "ralo_register_benchmarks",
    "ralo_register_aggregation_policies": "ralo_register_aggregators",
    "ralo_register_optimizer_policies": "ralo_register_optimizers",
}
"""Hooks as they were called -> as they are: a plugin with an old one is told the new name."""


@hookspec
def ralo_register_problem_providers() -> Iterable[Component]:
    """Return components that build a `ProblemProvider`."""


@hookspec
def ralo_register_sampling_algorithms() -> Iterable[Component]:
    """Return components that build a `SamplingAlgorithm`."""


@hookspec
def ralo_register_rewards() -> Iterable[Component]:
    """Return components that build a `Reward`."""


@hookspec
def ralo_register_advantage_estimators() -> Iterable[Component]:
    """Return components that build an `AdvantageEstimator`."""


@hookspec
def ralo_register_losses() -> Iterable[Component]:
    """Return components that build a `Loss`."""


@hookspec
def ralo_register_corrections() -> Iterable[Component]:
    """Return components that build a `Correction`."""


@hookspec
def ralo_register_aggregators() -> Iterable[Component]:
    """Return components that build an `Aggregator`."""


@hookspec
def ralo_register_optimizers() -> Iterable[Component]:
    """Return components that build an `OptimizerFactory`."""


@hookspec
def ralo_register_inference_engines() -> Iterable[Component]:
    """Return components that build an `InferenceEngine`."""


@hookspec
def ralo_register_gradient_codecs() -> Iterable[Component]:
    """Return components that build a `GradientCodec`."""


@hookspec
def ralo_register_benchmarks() -> Iterable[Component]:
    """Return components that build a `Benchmark`."""


@hookspec
def ralo_register_trackers() -> Iterable[Component]:
    """Return components that build a `Tracker`."""


@hookspec
def ralo_register_recipes() -> Iterable[Recipe]:
    """Return recipes, the named bundles that ``--plugin`` selects."""


@hookspec
def ralo_register_commands() -> Iterable[Command]:
    """Return click commands to add to ``ralo``."""


@hookspec
def ralo_run_started(run: str, config: Mapping[str, object]) -> None:
    """The orchestrator opened run `run` with the resolved `config`. Called in the learner."""


@hookspec
def ralo_samples_accepted(problem_id: str, rewards: list[float], version: int) -> None:
    """A rollout tree was stored; `version` is the oldest in it. Called in the web process."""


@hookspec
def ralo_step_committed(step: int, metrics: Mapping[str, float]) -> None:
    """Optimizer step `step` is durable. Called in the learner."""


@hookspec
def ralo_weights_published(version: int, directory: str) -> None:
    """Weights `version` can be downloaded. Called in the learner."""


@hookspec
def ralo_worker_joined(worker_id: str, role: str) -> None:
    """A worker registered for the first time. Called in the web process."""


@hookspec
def ralo_worker_left(worker_id: str, role: str) -> None:
    """A worker deregistered; its leases were returned. Called in the web process."""


@hookspec
def ralo_worker_lost(worker_id: str, role: str) -> None:
    """A worker's last lease expired and it has not reported since. Called in a web process or the
    learner, whichever notices it."""


@hookspec
def ralo_eval_reported(version: int, benchmark: str, metrics: Mapping[str, float]) -> None:
    """All responses of `version` to `benchmark` have arrived. Called in the web process."""


@hookspec
def ralo_run_finished(run: str, step: int) -> None:
    """The run is drained; `step` is its last step. Called in the learner."""
