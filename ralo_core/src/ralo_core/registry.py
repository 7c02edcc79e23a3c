"""The registry: every component by kind and name with the plugin it came from; builds objects.

Hooks are called once, when it is made. What `build` returns is the plugin's own object, so no call
of pluggy stands between a loop and its component.
"""

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from ralo_core.components import BuildContext, Command, Recipe, Registered
from ralo_core.errors import PluginError, UnknownComponentError, nearest
from ralo_core.kinds import KINDS
from ralo_core.plugins import PluginHost, PluginInfo

T = TypeVar("T", bound=Registered)


@attrs.frozen
class Entry(Generic[T]):
    """A registered thing and the plugin that registered it."""

    item: T
    plugin: PluginInfo


class Registry:
    """All components of this process, collected once from the active plugins of `host`."""

    def __init__(self, host: PluginHost) -> None:
        self.host = host
        self._entries: dict[str, dict[str, Entry[Any]]] = {
            kind: self._collect(kind) for kind in KINDS
        }

    def entries(self, kind: str) -> Mapping[str, Entry[Any]]:
        """Return everything of one kind by name."""
        return self._entries[kind]

    def find(self, kind: str, name: str) -> Entry[Any]:
        """Return the entry, or raise `UnknownComponentError` with the known names."""
        try:
            return self._entries[kind][name]
        except KeyError:
            raise UnknownComponentError(self._unknown(kind, name)) from None

    def recipe(self, name: str) -> Recipe:
        """Return a recipe by name."""
        item: Recipe = self.find("recipe", name).item
        return item

    def commands(self) -> Mapping[str, Entry[Command]]:
        """Return the click commands that plugins add."""
        return self._entries["command"]

    def settings_class(self, kind: str, name: str) -> type | None:
        """Return the attrs class of a component's settings, or None where it has none."""
        entry = self.find(kind, name)
        cls: type | None = self._load(kind, entry, entry.item.config)
        return cls

    def build(self, kind: str, name: str, settings: Any, context: BuildContext) -> Any:
        """Return the object that component `name` makes from `settings`.

        Raises `PluginError` naming component and plugin when the factory cannot be imported.
        """
        entry = self.find(kind, name)
        return self._load(kind, entry, entry.item.factory)(settings, context)

    def _load(self, kind: str, entry: Entry[Any], target: Any) -> Any:
        """Import `target` if it is a path; an import error names component and plugin."""
        if not isinstance(target, str):
            return target
        try:
            return load_object(target)
        except (ImportError, AttributeError) as error:
            name = f"{kind} '{entry.item.name}' of plugin {entry.plugin}"
            msg = f"{name} cannot be imported from {target}: {error}"
            raise PluginError(msg) from error

    def _collect(self, kind: str) -> dict[str, Entry[Any]]:
        found: dict[str, Entry[Any]] = {}
        hook = getattr(self.host.manager.hook, KINDS[kind].hook)
        for impl in reversed(hook.get_hookimpls()):
            plugin = self.host.plugins[impl.plugin_name]
            for item in impl.function() or ():
                self._check_type(kind, item, plugin)
                if item.name in found:
                    other = found[item.name].plugin
                    msg = (
                        f"two plugins register the {kind} '{item.name}': {other} and {plugin}; "
                        f"uninstall one or add it to [plugins] disable"
                    )
                    raise PluginError(msg)
                found[item.name] = Entry(item, plugin)
        return found

    def _check_type(self, kind: str, item: Any, plugin: PluginInfo) -> None:
        expected = KINDS[kind].registered
        if not isinstance(item, expected):
            msg = (
                f"plugin {plugin}: {KINDS[kind].hook}() must return {expected.__name__} objects, "
                f"not {type(item).__name__}"
            )
            raise PluginError(msg)

    def _unknown(self, kind: str, name: str) -> str:
        known = sorted(self._entries[kind])
        listing = ", ".join(known) or "none"
        failed = [info for info in self.host.plugins.values() if info.state == "failed"]
        hint = "".join(f"; plugin {info} failed to load: {info.error}" for info in failed)
        wanted = f" ralo-{name.replace('_', '-')}" if kind == "recipe" else ""
        return (
            f"no {KINDS[kind].label} is called '{name}'{nearest(name, known)}; known: "
            f"{listing}{hint}. If a plugin provides it, install that one with: "
            f"{sys.executable} -m pip install{wanted}"
        )


def load_object(path: str) -> Any:
    """Return the object that ``"package.module:name"`` names."""
    module, _, name = path.partition(":")
    if not name:
        msg = f"'{path}' is not of the form 'package.module:name'"
        raise PluginError(msg)
    return getattr(importlib.import_module(module), name)
