"""The config that a run directory was made with, as a layer that ``--set`` goes over."""

from collections.abc import Sequence

import attrs

from ralo_core.cli.config_source import configured_registry
from ralo_core.config import Config, Layer, resolve, set_layer
from ralo_core.registry import Registry
from ralo_server.rundir.directory import RunDirectory


def stored_config(
    directory: RunDirectory, registry: Registry, assignments: Sequence[str]
) -> tuple[Config, str]:
    """Return the config of a run with `assignments` over it, and the run's recipe.

    A value keeps the source that it had when the run was made.
    """
    settings = directory.settings()
    stored = Layer(str(directory.config_file), settings["config"])
    layers = [stored, set_layer(assignments)]
    config = resolve(layers, configured_registry(registry, layers))
    before = settings["sources"]
    sources = {
        path: before.get(path, "default") if source == stored.source else source
        for path, source in config.sources.items()
    }
    return attrs.evolve(config, sources=sources), str(settings["recipe"])
