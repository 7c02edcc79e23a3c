"""Imports a function of the user's own that an option names as ``module:function``.

Options like ``reward.function.path`` do so. Unlike `registry.load_object`, which loads
what plugins registered, it finds modules in the current directory too: a script-installed ``ralo``
has no current directory in its path.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ralo_core.errors import RaloError


def import_function(path: str, option: str) -> Callable[..., Any]:
    """Return the callable that `path` names; `option` is the config key shown in errors."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        msg = f"{option} = {path!r}: expected 'module:function'"
        raise RaloError(msg)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that no folder here can hide an installed package
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        msg = (
            f"{option} = {path!r} cannot be imported: {error}; install its module or put it "
            f"into the current directory, {here}"
        )
        raise RaloError(msg) from error
    if not callable(function):
        msg = f"{option} = {path!r} is a {type(function).__name__}, not a function"
        raise RaloError(msg)
    found: Callable[..., Any] = function
    return found
