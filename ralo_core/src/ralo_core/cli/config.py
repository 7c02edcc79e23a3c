"""``ralo config``: the resolved config with the source of every value, and what a key means."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ralo_core.cli.config_source import ConfigSource
from ralo_core.cli.options import config_options
from ralo_core.cli.plugins import option_rows, settings_rows
from ralo_core.config.settings import FIXED
from ralo_core.kinds import SECTIONS
from ralo_core.registry import Registry


@click.group()
def config() -> None:
    """Show, check and explain the configuration."""


@config.command()
@config_options
@click.pass_context
def show(ctx: click.Context, source: ConfigSource) -> None:
    """Print every value and where it comes from."""
    resolved = source.gather(ctx.find_root().obj)
    table = Table(box=None, padding=(0, 2))
    for heading in ("key", "value", "source"):
        table.add_column(heading)
    for path, value in _leaves(resolved.data):
        origin = resolved.sources.get(path, "default")
        style = "" if origin != "default" else "dim"
        table.add_row(path, escape(repr(value)), escape(origin), style=style)
    Console(soft_wrap=True).print(table)


@config.command()
@config_options
@click.pass_context
def check(ctx: click.Context, source: ConfigSource) -> None:
    """Check a configuration; every fault is listed."""
    source.gather(ctx.find_root().obj)
    click.echo("the configuration is valid")


@config.command()
@click.argument("key", default="")
@click.pass_context
def explain(ctx: click.Context, key: str) -> None:
    """Explain the options below KEY, e.g. `trainer` or `loss.clip`; without KEY all of them."""
    registry: Registry = ctx.find_root().obj
    table = Table(box=None, padding=(0, 2))
    for heading in ("key", "type", "default", "meaning"):
        table.add_column(heading)
    found = [
        row
        for row in _explained(registry)
        if row[0] == key or row[0].startswith(f"{key}." if key else "")
    ]
    if not found:
        sections = ", ".join([*FIXED, *SECTIONS])
        raise click.UsageError(f"nothing is called '{key}'; sections: {sections}")
    for row in found:
        table.add_row(*map(escape, row))
    Console(soft_wrap=True).print(table)


def _explained(registry: Registry) -> Iterator[tuple[str, str, str, str]]:
    for section, cls in FIXED.items():
        yield from _rows(section, settings_rows(cls))
    for section, kind in SECTIONS.items():
        key = "pipeline" if kind.many else "use"
        names = ", ".join(registry.entries(kind.name)) or "none installed"
        yield f"{section}.{key}", "list" if kind.many else "str", "", f"one of: {names}"
        for name in registry.entries(kind.name):
            yield from _rows(f"{section}.{name}", option_rows(registry, kind.name, name))


def _rows(prefix: str, rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    for row in rows:
        if attrs.has(type(row["default"])):
            yield from _rows(f"{prefix}.{row['name']}", settings_rows(type(row["default"])))
            continue
        yield f"{prefix}.{row['name']}", row["type"], repr(row["default"]), row["help"]


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
