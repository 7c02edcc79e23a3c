"""The options that several commands share, as decorators of click commands.

A decorator that stands for several options hands the command one object: `config_options` a
`ConfigSource`, `connection_options` a `Connection`.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from ralo_core.access import CA_ENV, TOKEN_ENV
from ralo_core.cli.config_source import ConfigSource
from ralo_core.client.connection import Connection

PLUGIN_ENV = "RALO_PLUGINS_DISABLE"

Command = Callable[..., Any]
F = TypeVar("F", bound=Command)


def config_options(command: Command) -> Command:
    """Add ``--plugin``, ``--config``, ``--set`` and ``--tiny``; `command` gets them as `source`."""

    @wraps(command)
    def with_source(
        *args: Any,
        recipe: str,
        config_file: Path | None,
        assignments: Sequence[str],
        tiny: bool,
        **options: Any,
    ) -> Any:
        source = ConfigSource(
            recipe=recipe, config_file=config_file, assignments=assignments, tiny=tiny
        )
        return command(*args, source=source, **options)

    return with_options(
        with_source,
        click.option(
            "--plugin",
            "recipe",
            default="",
            metavar="RECIPE",
            help="Recipe to start from, e.g. treepo or grpo.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help="TOML file of settings.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set one config value, e.g. --set loss.clip.clip_high=0.3.",
        ),
        click.option(
            "--tiny",
            is_flag=True,
            help="Use the recipe's settings for the tiny model; implied without run.model.",
        ),
    )


def connection_options(command: Command) -> Command:
    """Add ``--server``, ``--token``, ``--ca`` and ``--source`` to a command that joins a run;
    `command` gets them as `connection`."""

    @wraps(command)
    def with_connection(
        *args: Any, url: str, token: str, ca: Path | None, relays: Sequence[str], **options: Any
    ) -> Any:
        connection = Connection(url=url, token=token, ca=ca, relays=relays)
        return command(*args, connection=connection, **options)

    return with_options(
        with_connection,
        click.option(
            "--server",
            "url",
            required=True,
            metavar="URL|RUN_DIR",
            help="The orchestrator's URL, or the run's directory, which also has the token.",
        ),
        token_option("Token of the role, where the orchestrator asks for one."),
        ca_option,
        click.option(
            "--source",
            "relays",
            multiple=True,
            metavar="URL",
            envvar="RALO_WEIGHT_SOURCES",
            show_envvar=True,
            help="A relay to fetch weights from before the orchestrator; nearest first, may "
            "repeat.",
        ),
    )


def token_option(meaning: str) -> Callable[[F], F]:
    """Return the decorator that adds ``--token``, explained by `meaning`."""
    return click.option("--token", default="", envvar=TOKEN_ENV, show_envvar=True, help=meaning)


def ca_option(command: F) -> F:
    """Add ``--ca`` to a click command."""
    return click.option(
        "--ca",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar=CA_ENV,
        show_envvar=True,
        help="PEM file of a private authority that signed the server's certificate.",
    )(command)


def with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Return `command` with `options`, which ``--help`` lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command
