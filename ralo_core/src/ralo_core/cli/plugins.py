"""``ralo plugins``: what is installed, from which distribution, with what to choose and set."""

import json
import typing
from typing import Any

import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ralo_core.kinds import KINDS
from ralo_core.plugins import PluginInfo
from ralo_core.registry import Entry, Registry


@click.command()
@click.argument("name", default="")
@click.option("--options", "show_options", is_flag=True, help="List every component's options.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def plugins(ctx: click.Context, name: str, show_options: bool, as_json: bool) -> None:
    """Show the installed plugins; with NAME that plugin alone and its options."""
    registry: Registry = ctx.find_root().obj
    chosen = [info for info in registry.host.plugins.values() if name in ("", info.name)]
    if name and not chosen:
        known = ", ".join(registry.host.plugins)
        raise click.UsageError(f"there is no plugin '{name}'; installed: {known}")
    if as_json:
        click.echo(json.dumps([_as_data(registry, info) for info in chosen], indent=2))
        return
    console = Console(soft_wrap=True)
    for info in chosen:
        _print_plugin(console, registry, info, bool(name) or show_options)


def _print_plugin(
    console: Console, registry: Registry, info: PluginInfo, show_options: bool
) -> None:
    console.print(
        f"[bold]{info.name}[/bold]  {info.distribution} {info.version}  "
        f"{info.state}  {info.load_seconds * 1000:.1f} ms"
    )
    if info.error:
        console.print(f"  [red]{escape(info.error)}[/red]")
        if show_options:
            console.print(escape(info.trace), style="dim")
    table = Table(box=None, show_header=False, padding=(0, 2))
    for kind, entry in _entries(registry, info):
        table.add_row(f"  {kind.replace('_', ' ')}", entry.item.name, escape(entry.item.summary))
        for option in option_rows(registry, kind, entry.item.name) if show_options else ():
            table.add_row("", f"  .{option['name']}", f"{option['default']!r}  {option['help']}")
    console.print(table)


def _entries(registry: Registry, info: PluginInfo) -> list[tuple[str, Entry[Any]]]:
    return [
        (kind, entry)
        for kind in KINDS
        for entry in registry.entries(kind).values()
        if entry.plugin is info
    ]


def option_rows(registry: Registry, kind: str, name: str) -> list[dict[str, Any]]:
    """Return name, type, default and help of each option of a component."""
    if kind in ("recipe", "command"):
        return []
    cls = registry.settings_class(kind, name)
    return [] if cls is None else settings_rows(cls)


def settings_rows(cls: type) -> list[dict[str, Any]]:
    """Return name, type, default and help of each field of a settings class."""
    hints = typing.get_type_hints(cls)
    rows = []
    for field in attrs.fields(cls):
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        rows.append(
            {
                "name": field.name,
                "type": getattr(hints[field.name], "__name__", str(hints[field.name])),
                "default": None if default is attrs.NOTHING else default,
                "help": field.metadata.get("help", ""),
            }
        )
    return rows


def _as_data(registry: Registry, info: PluginInfo) -> dict[str, Any]:
    components = [
        {
            "kind": kind,
            "name": entry.item.name,
            "summary": entry.item.summary,
            "options": option_rows(registry, kind, entry.item.name),
        }
        for kind, entry in _entries(registry, info)
    ]
    return {**attrs.asdict(info), "components": components}
