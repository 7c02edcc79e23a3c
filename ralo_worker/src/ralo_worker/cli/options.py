"""The option that the worker commands share, beside those of `ralo_core.cli.options`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def source_option(command: F) -> F:
    """Add ``--source`` to a click command that fetches weights."""
    return click.option(
        "--source",
        "relays",
        multiple=True,
        metavar="URL",
        envvar="RALO_WEIGHT_SOURCES",
        show_envvar=True,
        help="A relay to fetch weights from before the orchestrator; nearest first, may repeat.",
    )(command)
