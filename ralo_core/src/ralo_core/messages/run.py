"""The run itself: is it up, what is its config, in which state is it."""

from collections.abc import Mapping
from typing import Any

import attrs

from ralo_core.messages.workers import PluginVersion


@attrs.frozen(kw_only=True)
class Health:
    """Reply of ``GET /health``; `status` is ``ok``, `version` -1 before the first."""

    status: str
    run: str
    state: str
    version: int


@attrs.frozen(kw_only=True)
class WorkerConfig:
    """Reply of ``GET /config``: the resolved config, secrets included, and the plugins that a
    worker must have."""

    run: str
    config: Mapping[str, Any]
    plugins: tuple[PluginVersion, ...]


@attrs.frozen(kw_only=True)
class RunConfig:
    """Reply of ``GET /run/config``: the config for those who look at the run, without its secrets.

    `sources` says for ``section.key`` where its value is from; defaults are not in it.
    """

    run: str
    recipe: str
    config: Mapping[str, Any]
    sources: Mapping[str, str]
    plugins: tuple[PluginVersion, ...]


@attrs.frozen(kw_only=True)
class State:
    """Reply of ``POST /stop``: the state that the run is in now."""

    state: str
