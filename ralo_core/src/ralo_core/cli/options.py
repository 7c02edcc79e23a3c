"""The options that every command which needs a config shares, and how they become one.

Neighbours: ``ralo run``, ``ralo serve`` and ``ralo config``. It gathers layers and leaves
their meaning to `ralo_core.config`.
"""

import os
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import click
from packaging.requirements import InvalidRequirement, Requirement

from ralo_core.config import (
    Config,
    Layer,
    PluginSettings,
    environment_layer,
    file_layer,
    resolve,
    set_layer,
)
from ralo_core.errors import ConfigError, PluginError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry

PLUGIN_ENV = "RALO_PLUGINS_DISABLE"

F = TypeVar("F", bound=Callable[..., Any])


def config_options(command: F) -> F:
    """Add ``--plugin``, ``--config`` and ``--set`` to a click command."""
    for option in (
        click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE",
                     help="Set one config value, e.g. --set loss.clip.clip_high=0.3."),
        click.option("--config", "config_file", type=click.Path(path_type=Path),
                     help="TOML file of settings."),
        click.option("--plugin", "recipe", default="", metavar="RECIPE",
                     help="Recipe to start from, e.g. treepo or grpo."),
    ):
        command = option(command)
    return command


def gather(
    registry: Registry, recipe: str, config_file: Path | None, assignments: Sequence[str]
) -> Config:
    """Return the config of recipe < file < environment < ``--set``, fully checked.

    Reloads the plugins without those that ``[plugins] disable`` names.
    """
    upper = [file_layer(config_file)] if config_file else []
    upper += [environment_layer(os.environ), set_layer(assignments)]
    disabled = _disabled(upper)
    if disabled:
        registry = Registry(PluginHost(disabled=disabled).load())
    layers = [Layer(f"recipe {recipe}", registry.recipe(recipe).defaults)] if recipe else []
    config = resolve([*layers, *upper], registry)
    check_required(config)
    return config


def check_required(config: Config) -> None:
    """Raise `PluginError` naming the pip command if a ``[plugins] require`` is not met."""
    for text in config.section(PluginSettings).require:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ConfigError([f"plugins.require: {text!r} is not a requirement: {error}"]) from error
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or not requirement.specifier.contains(installed, prereleases=True):
            found = f"version {installed} is installed" if installed else "it is not installed"
            msg = f"the run requires {text}, but {found}: pip install '{text}'"
            raise PluginError(msg)


def _disabled(layers: Sequence[Layer]) -> list[str]:
    names: list[str] = []
    for layer in layers:
        table = layer.data.get("plugins", {})
        value = table.get("disable", []) if isinstance(table, dict) else []
        if isinstance(value, list):
            names = [str(name) for name in value]
    return names
