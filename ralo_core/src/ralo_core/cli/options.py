"""The options that every command which needs a config shares, and how they become one.

Neighbours: ``ralo run``, ``ralo serve`` and ``ralo config``. It gathers layers and leaves
their meaning to `ralo_core.config`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import click
from packaging.requirements import InvalidRequirement, Requirement

from ralo_core.access import CA_ENV, TOKEN_ENV
from ralo_core.config import (
    Config,
    Layer,
    PluginSettings,
    environment_layer,
    file_layer,
    resolve,
    set_layer,
)
from ralo_core.config.layers import merge
from ralo_core.errors import ConfigError, PluginError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.structuring import structure

F = TypeVar("F", bound=Callable[..., Any])


def config_options(command: F) -> F:
    """Add ``--plugin``, ``--config``, ``--set`` and ``--tiny`` to a click command."""
    for option in (
        click.option(
            "--tiny",
            is_flag=True,
            help="Use the recipe's settings for the tiny model; implied without run.model.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set one config value, e.g. --set loss.clip.clip_high=0.3.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help="TOML file of settings.",
        ),
        click.option(
            "--plugin",
            "recipe",
            default="",
            metavar="RECIPE",
            help="Recipe to start from, e.g. treepo or grpo.",
        ),
    ):
        command = option(command)
    return command


def connection_options(command: F) -> F:
    """Add ``--server``, ``--token`` and ``--ca`` to a click command that joins a run."""
    for option in (
        ca_option,
        click.option(
            "--token",
            default="",
            envvar=TOKEN_ENV,
            show_envvar=True,
            help="Token of the role, where the orchestrator asks for one.",
        ),
        click.option(
            "--server",
            "url",
            required=True,
            metavar="URL|RUN_DIR",
            help="The orchestrator's URL, or the run's directory, which also has the token.",
        ),
    ):
        command = option(command)
    return command


def ca_option(command: F) -> F:
    """Add ``--ca`` to a click command."""
    return click.option(
        "--ca",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar=CA_ENV,
        show_envvar=True,
        help="PEM file of a private authority that signed the server's certificate.",
    )(command)


def gather(
    registry: Registry,
    recipe: str,
    config_file: Path | None,
    assignments: Sequence[str],
    tiny: bool = False,
) -> Config:
    """Return the config of recipe < file < environment < ``--set``, fully checked.

    Reloads the plugins without those that ``[plugins] disable`` names.
    """
    upper = [file_layer(config_file)] if config_file else []
    upper += [environment_layer(os.environ), set_layer(assignments)]
    registry = wished_registry(registry, upper)
    layers = []
    if recipe:
        chosen = registry.recipe(recipe)
        layers.append(Layer(f"recipe {recipe}", chosen.defaults))
        if tiny or not uses_own_model(upper):
            layers.append(Layer(f"recipe {recipe}, tiny", chosen.tiny))
    return resolve([*layers, *upper], registry)


def repeated(
    recipe: str, config_file: Path | None, assignments: Sequence[str], tiny: bool
) -> list[str]:
    """Return the options of `config_options` that lead to the same config again."""
    options = ["--plugin", recipe] if recipe else []
    options += ["--tiny"] if tiny else []
    options += ["--config", str(config_file)] if config_file else []
    for assignment in assignments:
        options += ["--set", assignment]
    return options


def wished_registry(registry: Registry, layers: Sequence[Layer]) -> Registry:
    """Return a registry without the plugins that `layers` disable; raises `PluginError` if one
    that they require is not installed."""
    data, _ = merge(layers)
    wishes = structure(data.get("plugins", {}), PluginSettings, "plugins")
    check_required(wishes.require)
    return Registry(PluginHost(disabled=wishes.disable).load()) if wishes.disable else registry


def uses_own_model(layers: Sequence[Layer]) -> bool:
    """Say whether any layer names a model in place of the embedded one."""
    data, _ = merge(layers)
    table = data.get("run")
    return isinstance(table, Mapping) and bool(table.get("model"))


def check_required(requirements: Sequence[str]) -> None:
    """Raise `PluginError` naming the pip command if a ``[plugins] require`` is not met."""
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ConfigError(
                [f"plugins.require: {text!r} is not a requirement: {error}"]
            ) from error
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or not requirement.specifier.contains(installed, prereleases=True):
            found = f"version {installed} is installed" if installed else "it is not installed"
            msg = f"the run requires {text}, but {found}: pip install '{text}'"
            raise PluginError(msg)
