"""Checks an installed component by kind and name, built as a run builds it.

Neighbours: the modules beside it, one per kind.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ralo_core.components import BuildContext
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.structuring import structure
from ralo_core.testing.advantages import check_advantage_estimator
from ralo_core.testing.benchmarks import check_benchmark
from ralo_core.testing.codecs import check_gradient_codec
from ralo_core.testing.corrections import check_correction
from ralo_core.testing.engines import check_inference_engine
from ralo_core.testing.losses import check_loss
from ralo_core.testing.policies import check_aggregation_policy, check_optimizer_policy
from ralo_core.testing.providers import check_problem_provider
from ralo_core.testing.rewards import check_reward
from ralo_core.testing.sampling import check_sampling_algorithm
from ralo_core.testing.trackers import check_tracker, check_unused_tracker

_ON_OBJECTS: dict[str, Callable[[Any], None]] = {
    "reward": check_reward,
    "sampling_algorithm": check_sampling_algorithm,
    "advantage_estimator": check_advantage_estimator,
    "loss": check_loss,
    "correction": check_correction,
    "gradient_codec": check_gradient_codec,
    "aggregator": check_aggregation_policy,
    "optimizer": check_optimizer_policy,
    "benchmark": check_benchmark,
}


def check_component(
    kind: str,
    name: str,
    settings: Mapping[str, Any] | None = None,
    *,
    registry: Registry | None = None,
    model_dir: Path | None = None,
    new_weights: Path | None = None,
) -> None:
    """Build component `name` of `kind` with `settings` (plain data, as in the config) and check it.

    `registry` is that of the installed plugins unless given. Engines need a `model_dir`, and are
    checked with `new_weights`, a directory of other weights of that model, where it is given.
    Raises `AssertionError` for a broken contract, `RaloError` for what cannot be built.
    """
    registry = registry or Registry(PluginHost().load())
    cls = registry.settings_class(kind, name)
    built = None if cls is None else structure(dict(settings or {}), cls, f"{kind}.{name}")
    with tempfile.TemporaryDirectory() as folder:
        context = BuildContext(role="cli", run_dir=Path(folder), model_dir=model_dir)

        def make() -> Any:
            return registry.build(kind, name, built, context)

        if kind == "problem_provider":
            check_problem_provider(make)
        elif kind == "inference_engine":
            check_inference_engine(make(), new_weights)
        elif kind == "tracker":
            check_unused_tracker(make())
            assert not list(Path(folder).iterdir()), "a tracker opens nothing before its first log"
            check_tracker(make())
        else:
            _ON_OBJECTS[kind](make())
