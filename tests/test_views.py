"""The diagrams of docs/ name what exists: endpoints, commands, processes, modules, states."""

import importlib.util
import re
from pathlib import Path

import falcon.inspect
import pytest

from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.web.app import make_app

ROOT = Path(__file__).parent.parent
STORE = "ralo_server/src/ralo_server/store"
WORKERS = {"alive", "lost", "left"}
"""States that the page tells of in words."""
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


def test_the_states_of_the_diagrams_are_those_of_the_store():
    diagrams = re.findall(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", architecture(), re.M | re.S)
    drawn = {
        state
        for diagram in diagrams
        for edge in re.findall(r"(\S+) --> ([^\s:]+)", diagram)
        for state in edge
        if state != "[*]"
    }
    source = "".join(path.read_text() for path in (ROOT / STORE).rglob("*.py"))
    clauses = re.findall(r"state\s*(?:=|!=|IN|NOT IN)\s*\(?((?:'[a-z_]+'(?:,\s*)?)+)", source)
    stored = {state for clause in clauses for state in re.findall(r"'([a-z_]+)'", clause)}
    assert stored - WORKERS <= drawn
    assert {state for state in drawn if not re.search(rf"""['"]{state}['"]""", source)} == set()


@pytest.mark.parametrize(
    "wrong", ["a -- GET /problems/get --> b", "ralo_server.store.problem", "ralo sampel", "ralo_x"]
)
def test_a_name_that_does_not_exist_is_found(wrong):
    assert len(unknown_names(wrong)) == 1
