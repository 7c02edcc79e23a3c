"""What plugins register: `Component`, `Recipe` and `Command`, and what a factory is given.

Plugins return these from ``ralo_register_*`` hooks. They are descriptions: the classes they name
are imported when a component is built, so that registering costs nothing.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

_NAME = attrs.validators.matches_re(r"[a-z][a-z0-9_]*")


@attrs.frozen(kw_only=True)
class BuildContext:
    """What every factory may know about the process it builds for.

    What becomes known later becomes a new field, so no factory's signature ever changes.
    """

    role: str
    """``orchestrator``, ``learner``, ``sampler``, ``trainer`` or ``cli``."""
    seed: int = 0
    run_dir: Path | None = None
    """The run directory, where this process has one (orchestrator, learner, trackers)."""
    model_dir: Path | None = None
    """The Hugging Face model directory, where this process has one (engines)."""
    config: Mapping[str, Any] = attrs.field(factory=dict)
    """The whole resolved config as plain data."""


@attrs.frozen(kw_only=True)
class Component:
    """One named building block that the config can choose.

    `factory` is called as ``factory(settings, context)``; a ``"module:Class"`` string is
    imported on first use, so that registering costs nothing. `config` is the attrs class of
    the settings (or its ``"module:Class"``), or None where there is nothing to set.
    """

    name: str = attrs.field(validator=_NAME)
    factory: Callable[[Any, BuildContext], Any] | str
    config: type | str | None = None
    summary: str = ""


@attrs.frozen(kw_only=True)
class Recipe:
    """A named bundle of components and defaults: what ``--plugin NAME`` selects.

    `defaults` is a nested mapping in the shape of the config file; it is the lowest layer.
    `tiny` lies on top of it where the run uses the embedded tiny model, whose responses have
    some thirty tokens and not thousands.
    """

    name: str = attrs.field(validator=_NAME)
    defaults: Mapping[str, Any]
    tiny: Mapping[str, Any] = attrs.field(factory=dict)
    summary: str = ""


@attrs.frozen(kw_only=True)
class Command:
    """A click command added to ``ralo``; `target` is ``"module:object"``, imported on use."""

    name: str = attrs.field(validator=attrs.validators.matches_re(r"[a-z][a-z0-9-]*"))
    target: str
    summary: str = ""


Registered = Component | Recipe | Command
