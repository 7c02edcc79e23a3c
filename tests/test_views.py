"""The diagrams of docs/ name what exists: endpoints, commands, processes, modules, states."""

import importlib.util
import re
from pathlib import Path

import falcon.inspect
import pytest

from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.store.lifecycle import Lifecycle
from ralo_server.store.states import (
    BATCHES,
    EVALUATIONS,
    GRADIENTS,
    LIFECYCLES,
    PROBLEMS,
    RUN_TRANSITIONS,
    SHARDS,
    TREES,
    VERSIONS,
    WORKERS,
    RunState,
)
from ralo_server.web.app import make_app

ROOT = Path(__file__).parent.parent
RUN = Lifecycle(table="run", created=[RunState.RUNNING], transitions=RUN_TRANSITIONS)
PAGES = ("docs/architecture.md", "README.md")
DIAGRAMS = [
    pytest.param(diagram, id=f"{page}-{number}")
    for page in PAGES
    for number, diagram in enumerate(
        re.findall(
            r"^```mermaid\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S
        )
    )
]
COMMANDS = set(Registry(PluginHost(strict=True).load()).commands())


class AnyServices:
    """Stands for the services: routes are inspected, never called."""

    def __getattr__(self, name):
        return None


def routes():
    inspected = falcon.inspect.inspect_app(make_app(AnyServices())).routes
    return {
        (method.method, route.path)
        for route in inspected
        for method in route.methods
        if method.function_name != "on_options"
    }


ROUTES = routes()


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_a_diagram_names_what_exists(diagram):
    assert unknown_names(diagram) == []


def unknown_names(diagram):
    endpoints = re.findall(r"\b(GET|POST|PUT|DELETE) (/[a-z_/{}0-9]*)", diagram)
    modules = re.findall(r"\bralo_[a-z]+(?:\.[a-z_]+)*", diagram)
    commands = re.findall(r"\bralo ([a-z]+)\b", diagram)
    return [
        *(f"{method} {path}" for method, path in endpoints if (method, path) not in ROUTES),
        *(name for name in modules if not is_module(name)),
        *(f"ralo {name}" for name in commands if name not in COMMANDS),
    ]


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def architecture():
    return (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_there_are_seven_views():
    views = architecture().partition("## Seven views")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\d)\.", views, re.M) == list("1234567")
    assert views.count("```mermaid") == 7


LIVES = (PROBLEMS, TREES, BATCHES, GRADIENTS, VERSIONS, RUN, EVALUATIONS, SHARDS, WORKERS)
"""In the order of the page."""


def drawn_lives():
    """Return the arrows of every state diagram; one from a state to itself is no change."""
    diagrams = re.findall(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", architecture(), re.M | re.S)
    edges = [re.findall(r"(\S+) --> ([^\s:]+)", diagram) for diagram in diagrams]
    return [{(before, after) for before, after in each if before != after} for each in edges]


def test_every_life_is_drawn_once():
    assert len(drawn_lives()) == len(LIVES)
    assert {life.table for life in LIFECYCLES} == {life.table for life in LIVES} - {RUN.table}


@pytest.mark.parametrize("place", range(len(LIVES)), ids=[life.table for life in LIVES])
def test_a_state_diagram_has_the_transitions_of_the_store(place):
    life = LIVES[place]
    allowed = {("[*]", state) for state in life.created}
    allowed |= {
        (before, after) for before in life.transitions for after in life.transitions[before]
    }
    allowed |= {(state, "[*]") for state in life.removed}
    assert drawn_lives()[place] == allowed


@pytest.mark.parametrize(
    "wrong", ["a -- GET /problems/get --> b", "ralo_server.store.problem", "ralo sampel", "ralo_x"]
)
def test_a_name_that_does_not_exist_is_found(wrong):
    assert len(unknown_names(wrong)) == 1
