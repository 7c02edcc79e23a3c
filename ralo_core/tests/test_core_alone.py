"""The `ralo` command where ralo-core is installed and no other distribution of ours."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ralo_core
from ralo_core.cli.distributions import COMMANDS
from ralo_core.cli.main import main
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry


@pytest.fixture(scope="module")
def core_alone(tmp_path_factory):
    """A folder of everything that is installed here, without our distributions except the core."""
    folder = tmp_path_factory.mktemp("core_alone")
    (folder / "ralo_core").symlink_to(Path(ralo_core.__file__).parent)
    for installed in map(Path, filter(None, sys.path)):
        if installed.name not in ("site-packages", "dist-packages"):
            continue
        for path in installed.iterdir():
            ours = "ralo" in path.name and not path.match("ralo_core-*.dist-info")
            if not ours and path.suffix != ".pth" and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return folder


def ralo(core_alone, tmp_path, *arguments):
    """Run the command in an interpreter that sees `core_alone` and the standard library only."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "ralo_core.cli.main", *arguments],
        env={"PYTHONPATH": str(core_alone)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip


def test_a_command_that_is_not_installed_names_its_distribution(core_alone, tmp_path):
    refused = ralo(core_alone, tmp_path, "serve", "--plugin", "grpo")
    assert refused.returncode == 2
    assert "`ralo serve` comes with ralo-server: pip install ralo-server" in refused.stderr


def test_plugins_and_config_work_with_the_core_alone(core_alone, tmp_path):
    listed = ralo(core_alone, tmp_path, "plugins")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[1] for line in listed.stdout.splitlines() if line[:1].strip()] == [
        "ralo-core"
    ]
    explained = ralo(core_alone, tmp_path, "config", "explain", "trainer.batch_trees")
    assert explained.returncode == 0, explained.stderr
    assert "32" in explained.stdout


def test_the_table_has_the_commands_that_our_distributions_register():
    registered = {
        name: entry.plugin.distribution
        for name, entry in Registry(PluginHost().load()).commands().items()
        if entry.plugin.distribution != "ralo-core"
    }
    assert registered == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_a_disabled_plugin_says_so(command):
    plugins = {"RALO_PLUGINS_DISABLE": "ralo,server,worker,tasks"}
    result = CliRunner().invoke(main, [command], env=plugins)
    assert result.exit_code == 2
    assert f"`ralo {command}` comes with {COMMANDS[command]}, whose plugin" in result.output
    assert "out of RALO_PLUGINS_DISABLE" in result.output
