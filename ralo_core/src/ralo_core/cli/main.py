"""The ``ralo`` command: a click group whose commands are what the plugins register.

A command's module is imported when the command is used, so that ``ralo --help`` loads no torch.
A `RaloError` is printed as its message, not as a traceback.
"""

import logging
import os
import sys
from typing import Any

import click

from ralo_core import __version__
from ralo_core.cli.distributions import COMMANDS, how_to_get
from ralo_core.cli.options import PLUGIN_ENV
from ralo_core.errors import RaloError, nearest
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry, load_object
from ralo_core.supervise import take_interrupts


class PluginGroup(click.Group):
    """A group that asks the registry for its commands, once per process."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all registered commands."""
        return sorted(self._registry(ctx).commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; raises `click.UsageError` if no plugin registers it."""
        commands = self._registry(ctx).commands()
        if cmd_name not in commands:
            raise click.UsageError(self._why_missing(cmd_name, ctx))
        command: click.Command = load_object(commands[cmd_name].item.target)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their summaries, importing none of them."""
        rows = [
            (name, entry.item.summary)
            for name, entry in sorted(self._registry(ctx).commands().items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a `RaloError` becomes a message and exit code 1."""
        take_interrupts()
        try:
            return super().invoke(ctx)
        except RaloError as error:
            click.echo(f"ralo: {error}", err=True)
            sys.exit(1)

    def _why_missing(self, name: str, ctx: click.Context) -> str:
        registry = self._registry(ctx)
        if name in COMMANDS:
            return how_to_get(name, registry.host.plugins)
        known = nearest(name, {*registry.commands(), *COMMANDS})
        return f"there is no command '{name}'{known}"

    def _registry(self, ctx: click.Context) -> Registry:
        root = ctx.find_root()
        if not isinstance(root.obj, Registry):
            disabled = os.environ.get(PLUGIN_ENV, "").split(",")
            try:
                root.obj = Registry(PluginHost(disabled=filter(None, disabled)).load())
            except RaloError as error:
                click.echo(f"ralo: {error}", err=True)
                sys.exit(1)
        registry: Registry = root.obj
        return registry


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ralo")
@click.option("-v", "--verbose", is_flag=True, help="Log at debug level.")
def main(verbose: bool) -> None:
    """RALO trains language models with reinforcement learning over plain HTTP."""
    log_to_stderr(logging.DEBUG if verbose else logging.INFO)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Let everything from `level` on be written to the standard error output."""
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("urllib3").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
