"""The pluggy hook specifications: the whole surface a plugin can implement.

Registration hooks return what the config can name and are called once per process, plugin
by plugin. Event hooks are observers: each implementation is called in isolation, an
exception in one is logged and never stops the run, results are ignored. Nothing here is
called in a hot loop. `docs/hooks.md` has an example for every hook.
"""

from collections.abc import Iterable, Mapping

import pluggy

from ralo_core.components import Command, Component, Recipe

PROJECT = "ralo"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ralo_register_problem_providers() -> Iterable[Component]:
    """Return components that build a `ProblemProvider`; they run in the orchestrator."""


@hookspec
def ralo_register_sampling_algorithms() -> Iterable[Component]:
    """Return components that build a `SamplingAlgorithm`; they run in the sampler."""


@hookspec
def ralo_register_rewards() -> Iterable[Component]:
    """Return components that build a `Reward`; they run in the sampler."""


@hookspec
def ralo_register_advantage_estimators() -> Iterable[Component]:
    """Return components that build an `AdvantageEstimator`; they run in the trainer."""


@hookspec
def ralo_register_losses() -> Iterable[Component]:
    """Return components that build a `Loss`; they run in the trainer."""


@hookspec
def ralo_register_corrections() -> Iterable[Component]:
    """Return components that build a `Correction`; they run in the trainer."""


@hookspec
def ralo_register_aggregators() -> Iterable[Component]:
    """Return components that build an `Aggregator`; they run in the learner."""


@hookspec
def ralo_register_optimizers() -> Iterable[Component]:
    """Return components that build an `OptimizerFactory`; they run in the learner."""


@hookspec
def ralo_register_inference_engines() -> Iterable[Component]:
    """Return components that build an `InferenceEngine`; they run in the sampler."""


@hookspec
def ralo_register_gradient_codecs() -> Iterable[Component]:
    """Return components that build a `GradientCodec`; they run in the trainer and the learner."""


@hookspec
def ralo_register_benchmarks() -> Iterable[Component]:
    """Return components that build an `Benchmark`; they run in the orchestrator."""


@hookspec
def ralo_register_trackers() -> Iterable[Component]:
    """Return components that build a `Tracker`; they run in the learner."""


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
    """A worker said that it ends; its leases went back. Called in the web process."""


@hookspec
def ralo_worker_lost(worker_id: str, role: str) -> None:
    """A worker's last lease expired without a word from it. Called in a web process or the learner,
    whichever notices it."""


@hookspec
def ralo_eval_reported(version: int, benchmark: str, metrics: Mapping[str, float]) -> None:
    """All answers of `version` to `benchmark` are in. Called in the web process."""


@hookspec
def ralo_run_finished(run: str, step: int) -> None:
    """The run is drained; `step` is its last step. Called in the learner."""
