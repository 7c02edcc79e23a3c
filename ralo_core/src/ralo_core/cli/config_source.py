"""Where a command's config comes from: the recipe, the file and the assignments of its options.

`gather` turns this into a checked config. `options` turns it into the words that lead another
``ralo`` process to the same config, so that ``ralo run`` and the launchers can hand it on.
"""

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs
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
from ralo_core.config.layers import merge
from ralo_core.errors import ConfigError, PluginError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.structuring import structure


@attrs.frozen(kw_only=True)
class ConfigSource:
    """What the options of `ralo_core.cli.options.config_options` said.

    `assignments` are ``KEY=VALUE`` texts, a later one wins. `tiny` asks for the recipe's settings
    of the embedded model, which are also used as long as no ``run.model`` is set.
    """

    recipe: str = ""
    config_file: Path | None = None
    assignments: Sequence[str] = ()
    tiny: bool = False

    def gather(self, registry: Registry) -> Config:
        """Return the config of recipe < file < environment < assignments, fully checked.

        Reloads the plugins without those that ``[plugins] disable`` names. Raises `ConfigError`,
        or `PluginError` if a plugin that ``[plugins] require`` names is not installed.
        """
        upper = [file_layer(self.config_file)] if self.config_file else []
        upper += [environment_layer(os.environ), set_layer(self.assignments)]
        registry = configured_registry(registry, upper)
        layers = []
        if self.recipe:
            chosen = registry.recipe(self.recipe)
            layers.append(Layer(f"recipe {self.recipe}", chosen.defaults))
            if self.tiny or not _names_a_model(upper):
                layers.append(Layer(f"recipe {self.recipe}, tiny", chosen.tiny))
        return resolve([*layers, *upper], registry)

    def options(self) -> list[str]:
        """Return the command line options that make this source again."""
        options = ["--plugin", self.recipe] if self.recipe else []
        options += ["--tiny"] if self.tiny else []
        options += ["--config", str(self.config_file)] if self.config_file else []
        for assignment in self.assignments:
            options += ["--set", assignment]
        return options


def configured_registry(registry: Registry, layers: Sequence[Layer]) -> Registry:
    """Return a registry without the plugins that `layers` disable; raises `PluginError` if one
    that they require is not installed."""
    data, _ = merge(layers)
    settings = structure(data.get("plugins", {}), PluginSettings, "plugins")
    check_required(settings.require)
    if not settings.disable:
        return registry
    return Registry(PluginHost(disabled=settings.disable).load())


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


def _names_a_model(layers: Sequence[Layer]) -> bool:
    """Say whether any layer names a model in place of the embedded one."""
    data, _ = merge(layers)
    table = data.get("run")
    return isinstance(table, Mapping) and bool(table.get("model"))
