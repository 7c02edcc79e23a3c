"""Which plugins the workers of a run must have, from what its config names."""

import types

import pytest

from ralo_core import Component, hookimpl
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.needed_plugins import needed_plugins


@hookimpl
def ralo_register_corrections():
    return [Component(name="halves", factory=lambda settings, context: None)]


def needed(*assignments):
    host = PluginHost().load()
    plugin = types.ModuleType("correcting")
    plugin.ralo_register_corrections = ralo_register_corrections
    host.register(plugin, "correcting", "ralo-correcting")
    found = needed_plugins(resolve([set_layer(assignments)], Registry(host)), [])
    return {role: {plugin["name"] for plugin in plugins} for role, plugins in found.items()}


def test_a_plugin_that_offers_a_correction_alone_is_demanded_of_trainers_alone():
    roles = needed("correction.pipeline=['halves']")
    assert "correcting" in roles["trainer"]
    assert "correcting" not in roles["sampler"]
    assert "correcting" not in needed()["trainer"]


@pytest.mark.parametrize(
    ("assignment", "role"),
    [("sampling.use='treepo'", "sampler"), ("advantage.use='treepo'", "trainer")],
)
def test_a_plugin_is_demanded_of_the_role_that_builds_its_component(assignment, role):
    other = {"sampler": "trainer", "trainer": "sampler"}[role]
    roles = needed(assignment)
    assert "treepo" in roles[role]
    assert "treepo" not in roles[other]
