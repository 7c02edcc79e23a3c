"""Makes a run directory out of a resolved config, or prepares an existing one to be continued.

It runs before any process is started, so that every fault that the user can repair (model, data,
options) is reported at once and on the terminal.
"""

import json
import shutil
import time
from pathlib import Path

import attrs

from ralo_core.components import BuildContext
from ralo_core.config import (
    Config,
    LearnerSettings,
    LocalStepsSettings,
    LoraSettings,
    RunSettings,
    ServerSettings,
    TrainerSettings,
    WeightsSettings,
)
from ralo_core.errors import ConfigError, RaloError
from ralo_core.files.atomic import write_blob
from ralo_core.protocols import ProblemProvider
from ralo_core.structuring import structure
from ralo_server.evaluation.drawing import checked_benchmarks
from ralo_server.models.model_files import check_model, copy_model_files, copy_weights
from ralo_server.models.object_store import ObjectStore
from ralo_server.models.starting_adapter import (
    chosen_layers,
    write_adapter_config,
    write_starting_adapter,
)
from ralo_server.needed_plugins import needed_plugins
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.database import Database
from ralo_server.store.evaluation.benchmarks import Benchmarks
from ralo_server.store.values import put_values
from ralo_server.trackers.chosen import tracker_names


def prepare(directory: RunDirectory, config: Config, recipe: str) -> None:
    """Check everything the processes will need and write it down.

    Raises `RaloError` for a model, data set or option that cannot work. A directory that holds
    a run keeps its model, problems and name; limits and sizes may change.
    """
    run, lora = config.section(RunSettings), config.section(LoraSettings)
    _check_sizes(config)
    _check_certificate(config.section(ServerSettings))
    _check_store(config.section(WeightsSettings))
    _check_trackers(directory, config)
    _check_same_model(directory, run.model)
    _check_same_adapter(directory, lora)
    new = not directory.config_file.exists()
    if new:
        _check_model(Path(run.model), lora)
    problem_count = _problem_count(config) if new else None
    benchmarks = checked_benchmarks(directory, config)
    for folder in (
        directory.samples,
        directory.gradients,
        directory.weights,
        directory.optimizer,
        directory.evaluations,
        directory.logs,
    ):
        folder.mkdir(parents=True, exist_ok=True)
    if new:
        shutil.rmtree(directory.model, ignore_errors=True)  # left by a start that was interrupted
        copy_model_files(Path(run.model), directory.model)
        if lora.rank:
            _prepare_adapter(directory, run, lora)
        _prepare_state(directory, config, recipe, problem_count)
    benchmarks.write(Benchmarks(Database(directory.state)))
    model_path = str(Path(run.model).resolve())
    settings = {
        "config": {**config.data, "run": {**config.data["run"], "model": model_path}},
        "sources": dict(config.sources),
        "plugins": needed_plugins(config, benchmarks.graders),
        "recipe": recipe,
    }
    text = json.dumps(settings, indent=1, ensure_ascii=False)
    write_blob(directory.config_file, text.encode())


def make_provider(config: Config) -> ProblemProvider:
    """Return the run's problem provider, at its beginning."""
    provider: ProblemProvider = config.build("problems", BuildContext(role="orchestrator"))
    return provider


def _check_store(weights: WeightsSettings) -> None:
    """Raise `RaloError` for an object store that cannot be opened."""
    if weights.store:
        ObjectStore(weights.store)


def _check_trackers(directory: RunDirectory, config: Config) -> None:
    """Raise `RaloError` for a tracker that cannot be built: its package may be missing."""
    for name in tracker_names(config):
        context = BuildContext(role="orchestrator", run_dir=directory.root)
        config.build_named("trackers", name, context)


def _check_sizes(config: Config) -> None:
    server, faults = config.section(ServerSettings), []
    trainer = config.section(TrainerSettings)
    batch = trainer.batch_trees
    if server.queued_trees < batch:
        faults.append(
            f"server.queued_trees ({server.queued_trees}) must be at least trainer.batch_trees "
            f"({batch}): a batch could never fill up"
        )
    step = config.section(LearnerSettings).gradients_per_step
    if server.pending_gradients < step:
        faults.append(
            f"server.pending_gradients ({server.pending_gradients}) must be at least "
            f"learner.gradients_per_step ({step}): a step could never be due"
        )
    parts = config.section(LocalStepsSettings).steps
    if parts > batch:
        faults.append(
            f"local_steps.steps ({parts}) must be at most trainer.batch_trees ({batch}): each step "
            "takes at least one tree"
        )
    if parts and trainer.offload_gradients:
        faults.append(
            "local_steps.steps needs the gradients where the weights are: "
            "trainer.offload_gradients = false"
        )
    if faults:
        raise ConfigError(faults)


def _check_certificate(server: ServerSettings) -> None:
    files = {"server.certfile": server.certfile, "server.keyfile": server.keyfile}
    if not any(files.values()):
        return
    faults = [
        f"{key} = '{path}': {'there is no such file' if path else 'TLS needs this one, too'}"
        for key, path in files.items()
        if not Path(path).is_file()
    ]
    if faults:
        raise ConfigError(faults)


def _check_same_model(directory: RunDirectory, model: str) -> None:
    if not model:
        fault = "run.model is not set: give a Hugging Face model directory (ralo model tiny DIR)"
        raise ConfigError([fault])
    if directory.config_file.exists():
        before = directory.settings()["config"]["run"]["model"]
        if Path(before).resolve() != Path(model).resolve():
            msg = (
                f"{directory.root} holds a run of the model {before}, not {model}; "
                "choose another --run-dir"
            )
            raise RaloError(msg)


def _check_same_adapter(directory: RunDirectory, lora: LoraSettings) -> None:
    """Raise `RaloError` where the run's gradients would be those of other tensors."""
    if not directory.config_file.exists():
        return
    before = structure(directory.settings()["config"].get("lora", {}), LoraSettings)
    # Trainers open the model at each start, in any dtype; all else is in the files of the run.
    if attrs.evolve(before, base_dtype=lora.base_dtype) != lora and (before.rank or lora.rank):
        there = f"a LoRA run ({before})" if before.rank else "a run of the whole model"
        msg = f"{directory.root} holds {there}; [lora] cannot change: choose another --run-dir"
        raise RaloError(msg)


def _prepare_adapter(directory: RunDirectory, run: RunSettings, lora: LoraSettings) -> None:
    """Let the run have its own copy of the model, which every version links, and an adapter."""
    model = Path(run.model)
    layers = chosen_layers(model, lora)
    copy_weights(model, directory.model)
    write_starting_adapter(directory.adapter, layers, lora, run.seed)
    for folder in (directory.adapter, directory.model):
        write_adapter_config(folder, model, layers, lora)


def _prepare_state(
    directory: RunDirectory, config: Config, recipe: str, problem_count: int | None
) -> None:
    put_values(
        Database(directory.state),
        {
            "run": config.section(RunSettings).name or directory.root.name,
            "recipe": recipe,
            "problem_count": problem_count,
            "started": time.time(),
        },
    )


def _check_model(model: Path, lora: LoraSettings) -> None:
    """Raise `RaloError` for a model that cannot be trained as the config says."""
    check_model(model)
    if lora.rank:
        chosen_layers(model, lora)


def _problem_count(config: Config) -> int | None:
    """Return how many problems the provider has, None if it does not end.

    Raises `RaloError` for a data set that cannot work.
    """
    provider = make_provider(config)
    try:
        return len(provider)  # type: ignore[arg-type]
    except TypeError:
        return None
