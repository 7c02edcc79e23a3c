"""The `ralo` command as a user meets it."""

import json

import pytest
from click.testing import CliRunner

from ralo_core.cli.main import main


def ralo(*arguments, env=None):
    return CliRunner().invoke(main, list(arguments), env=env)


def test_the_help_lists_every_registered_command():
    result = ralo("--help")
    assert result.exit_code == 0
    for command in ("config", "plugins", "run"):
        assert command in result.output


def test_an_unknown_command_names_the_nearest():
    result = ralo("plugin")
    assert result.exit_code == 2
    assert "did you mean 'plugins'" in result.output


def test_plugins_lists_distribution_components_and_options():
    result = ralo("plugins", "tasks")
    assert "ralo-tasks" in result.output
    assert "arithmetic" in result.output
    data = json.loads(ralo("plugins", "tasks", "--json").output)
    components = {(item["kind"], item["name"]): item for item in data[0]["components"]}
    assert components["problem_provider", "jsonl"]["options"]


def test_an_unknown_plugin_names_the_installed_ones():
    result = ralo("plugins", "nope")
    assert result.exit_code == 2
    assert "core" in result.output


def test_config_explain_shows_type_default_and_meaning():
    result = ralo("config", "explain", "trainer.batch_trees")
    assert "int" in result.output
    assert "32" in result.output
    assert "trees" in result.output


def test_an_unknown_recipe_is_refused_with_the_pip_command():
    result = ralo("config", "show", "--plugin", "nonesuch")
    assert result.exit_code == 1
    assert "no recipe is called 'nonesuch'" in result.output
    assert "pip install ralo-nonesuch" in result.output


def test_a_requirement_that_is_not_installed_is_refused_with_the_pip_command():
    result = ralo("config", "check", "--set", 'plugins.require=["ralo-nonesuch>=1"]')
    assert result.exit_code == 1
    assert "pip install 'ralo-nonesuch>=1'" in result.output


def test_a_disabled_plugin_takes_its_components_along():
    result = ralo("config", "check", "--set", 'plugins.disable=["tasks"]')
    assert result.exit_code == 1
    assert "'arithmetic'" in result.output


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("trainer.batch_tree=3", "unknown key 'batch_tree'; did you mean 'batch_trees'?"),
        ("traner.batch_trees=3", "[traner]: unknown section; did you mean 'trainer'?"),
        ("trainer.batch_trees=many", "trainer.batch_trees: expected int, got 'many'"),
        ("trainer.batch_trees=0", "must be above 0"),
        ("trainer", "expected section.key=value"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_path(assignment, message):
    result = ralo("config", "check", "--set", assignment)
    assert result.exit_code == 1
    assert message in result.output
