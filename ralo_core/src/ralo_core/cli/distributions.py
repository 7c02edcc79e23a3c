"""Which of our distributions brings which command, so that a missing one can be named.

A command is known to the registry only if its distribution is installed. Someone who has
installed ralo-core alone and types ``ralo serve`` needs the pip command, not "there is no such
command". ``ralo_core/tests/test_cli.py`` compares this table with what the distributions
register.
"""

from collections.abc import Mapping

from ralo_core.cli.options import PLUGIN_ENV
from ralo_core.plugins import PluginInfo

COMMANDS = {
    **dict.fromkeys(("run", "eval", "status", "top", "show", "stop", "logs", "launch"), "ralo"),
    **dict.fromkeys(
        ("serve", "runs", "rollback", "doctor", "export", "plot", "fit"), "ralo-server"
    ),
    **dict.fromkeys(("sample", "train"), "ralo-worker"),
    **dict.fromkeys(("model",), "ralo-tasks"),
}
"""The distribution of every command that is not ralo-core's own."""


def how_to_get(command: str, plugins: Mapping[str, PluginInfo]) -> str:
    """Return why `command`, one of `COMMANDS`, is not there and what to do about it.

    `plugins` are those that this process has found, in any state.
    """
    distribution = COMMANDS[command]
    origin = f"`ralo {command}` comes with {distribution}"
    for info in plugins.values():
        if info.distribution != distribution:
            continue
        if info.state == "failed":
            return f"{origin}, but its plugin {info.name!r} failed to load: {info.error}"
        return f"{origin}, whose plugin is disabled: take {info.name!r} out of {PLUGIN_ENV}"
    return f"{origin}: pip install {distribution}"
