"""The plugin host: finds distributions by entry point, loads each in isolation, keeps its state.

pluggy does the hook mechanics. Discovery is ours, because pluggy stops at the first broken plugin
and skips a second one of the same name without a word.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from ralo_core import hookspecs
from ralo_core.errors import PluginError, nearest

log = logging.getLogger(__name__)

GROUP = "ralo"
DISABLE_ENV = "RALO_PLUGINS_DISABLE"
STRICT_ENV = "RALO_PLUGINS_STRICT"
_MAX_FAILURES = 5


@attrs.define(kw_only=True)
class PluginInfo:
    """What is known of one plugin. `state` is ``found``, ``active``, ``disabled`` or ``failed``."""

    name: str
    distribution: str
    version: str
    value: str
    state: str = "found"
    error: str = ""
    trace: str = ""
    load_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


class PluginHost:
    """All plugins of this process.

    `disabled` names plugins to leave out, beside those of ``RALO_PLUGINS_DISABLE`` (names with
    commas between them): that variable holds for every process of a machine, workers included.
    With `strict` (or ``RALO_PLUGINS_STRICT=1``) a failing plugin raises `PluginError` instead of
    being remembered as failed.
    """

    def __init__(self, disabled: Iterable[str] = (), strict: bool | None = None) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, PluginInfo] = {}
        self.disabled = frozenset([*disabled, *os.environ.get(DISABLE_ENV, "").split(",")])
        self.strict = os.environ.get(STRICT_ENV) == "1" if strict is None else strict
        self._event_failures: dict[str, int] = {}

    def load(self) -> "PluginHost":
        """Load every installed plugin, in order of name, and return the host."""
        for entry, info in discover():
            self._load_one(entry, info)
        return self

    def register(self, plugin: Any, name: str, distribution: str = "(local)") -> PluginInfo:
        """Register a module or object that no entry point names, as tests do.

        Raises `PluginError` if it is no plugin.
        """
        info = PluginInfo(name=name, distribution=distribution, version="0", value=repr(plugin))
        self.plugins[name] = info
        try:
            self._activate(plugin, info)
        except PluginError as error:
            del self.plugins[name]
            msg = f"plugin {info}: {error}"
            raise PluginError(msg) from error
        return info

    def active(self) -> list[PluginInfo]:
        """Return the plugins in use."""
        return [info for info in self.plugins.values() if info.state == "active"]

    def notify(self, event: str, **fields: Any) -> None:
        """Call an event hook in every plugin; a failure is logged and stops no other plugin."""
        for impl in getattr(self.manager.hook, event).get_hookimpls():
            key = f"{impl.plugin_name}.{event}"
            if self._event_failures.get(key, 0) >= _MAX_FAILURES:
                continue
            try:
                impl.function(*(fields[name] for name in impl.argnames))
            except (Exception, SystemExit):  # an observer must never stop the run
                self._event_failures[key] = self._event_failures.get(key, 0) + 1
                log.exception("plugin %s failed in event %s", impl.plugin_name, event)

    def _load_one(self, entry: EntryPoint, info: PluginInfo) -> None:
        self.plugins[info.name] = info
        if info.name in self.disabled:
            info.state = "disabled"
            return
        started = time.perf_counter()
        try:
            self._activate(entry.load(), info)
        except Exception as error:  # whatever one plugin does at import must not stop the others
            info.state, info.trace = "failed", traceback.format_exc()
            info.error = (
                str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            )
            if self.strict:
                msg = f"plugin {info} failed to load: {info.error}"
                raise PluginError(msg) from error
            log.warning("plugin %s failed to load and is left out: %s", info, info.error)
        finally:
            info.load_seconds = time.perf_counter() - started

    def _activate(self, plugin: Any, info: PluginInfo) -> None:
        _check_hook_names(plugin)
        try:
            self.manager.register(plugin, info.name)
        except pluggy.PluginValidationError as error:
            if self.manager.has_plugin(info.name):
                self.manager.unregister(name=info.name)
            raise PluginError(str(error)) from error
        info.state = "active"


def discover() -> list[tuple[EntryPoint, PluginInfo]]:
    """Return the installed plugins sorted by name, without importing any of them.

    Raises `PluginError` when two distributions claim one plugin name.
    """
    found: dict[str, tuple[EntryPoint, PluginInfo]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        info = PluginInfo(
            name=entry.name,
            distribution=entry.dist.name if entry.dist else "(unknown)",
            version=entry.dist.version if entry.dist else "?",
            value=entry.value,
        )
        other = found.get(entry.name)
        if other and (other[1].distribution, other[1].value) != (info.distribution, info.value):
            msg = (
                f"two distributions provide the plugin '{entry.name}': {other[1].distribution} and "
                f"{info.distribution}; uninstall one of them from {sys.prefix}"
            )
            raise PluginError(msg)
        found[entry.name] = (entry, info)
    return list(found.values())


def _check_hook_names(plugin: Any) -> None:
    """Raise `PluginError` for a hook that pluggy would pass over without a word."""
    known = [name for name in vars(hookspecs) if name.startswith("ralo_")]
    for name in dir(plugin):
        if not name.startswith("ralo_") or not callable(getattr(plugin, name)):
            continue
        options = getattr(getattr(plugin, name), f"{hookspecs.PROJECT}_impl", None)
        if options is None:
            msg = f"{name}() lacks the @hookimpl decorator"
            raise PluginError(msg)
        if name in hookspecs.RENAMED:
            msg = f"there is no hook {name}; it is called {hookspecs.RENAMED[name]} now"
            raise PluginError(msg)
        if name not in known and not options.get("optionalhook"):
            msg = f"there is no hook {name}{nearest(name, known)}"
            raise PluginError(msg)
