"""The arrows of view 7 hold: who calls an endpoint, who answers it, which table that reads."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from test_views import architecture

from ralo_core.client import api
from ralo_server.store import store
from ralo_server.web.app import routes

VIEW = architecture().partition("### 7.")[2].partition("```mermaid\n")[2].partition("```")[0]


class AnyServices:
    """Stands for the services: routes are looked at, never called."""

    def __getattr__(self, name):
        return None


def modules():
    """Return the module of every node that is one, by the node's name."""
    return dict(re.findall(r"^ +(\w+)\[\"(?:both: )?(ralo_\w+(?:\.\w+)+)\"\]", VIEW, re.M))


def arrows():
    """Return (from, label, to) of every arrow; a chain ``a -- x --> b --> c`` is two."""
    found = []
    for line in VIEW.splitlines():
        parts = re.split(r"\s+(?:-- \"([^\"]*)\" -->|-->)\s+", line.strip())
        names, labels = parts[::2], parts[1::2]
        found += [
            (a, label or "", b) for a, label, b in zip(names, labels, names[1:], strict=False)
        ]
    return found


def calls():
    """Return (caller, path, resource) for every endpoint that labels an arrow."""
    where = modules()
    return [
        (where[source], path, where[target])
        for source, label, target in arrows()
        for path in re.findall(r"(?:GET|POST) (/[a-z_/{}0-9]+)", label)
    ]


def source_of(module):
    return Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")


def paths_of_methods():
    """Return the paths that each method of `Client` asks for, and those of the gradient sender."""
    tree = ast.parse(source_of(api.__name__))
    client = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Client")
    found = {
        method.name: {
            node.value
            for node in ast.walk(method)
            if isinstance(node, ast.Constant) and str(node.value).startswith("/")
        }
        for method in client.body
        if isinstance(method, ast.FunctionDef)
    }
    sending = re.findall(r'"(/gradient/\w+)"', source_of("ralo_core.client.gradients"))
    return {**found, "send_gradient": set(sending)}


METHODS = paths_of_methods()
ROUTES = {path: type(resource).__module__ for path, (resource, _) in routes(AnyServices()).items()}


def test_the_view_has_arrows_of_every_sort():
    assert len(calls()) > 12
    assert set(modules()) >= {name for a, _, b in arrows() for name in (a, b) if name[0] == "r"}


@pytest.mark.parametrize(("caller", "path", "resource"), calls())
def test_who_calls_an_endpoint_and_who_answers_it(caller, path, resource):
    assert ROUTES[path] == resource
    text = source_of(caller)
    asks = any(path in paths and f"client.{name}" in text for name, paths in METHODS.items())
    assert asks or path.partition("{")[0] in text, f"{caller} does not call {path}"


def attributes():
    """Return the module whose object `Store` has under each of its attributes."""
    made = re.findall(r"self\.(\w+) = (\w+)\(", source_of(store.__name__))
    return {name: vars(store)[cls].__module__ for name, cls in made}


@pytest.mark.parametrize(
    ("resource", "table"),
    [
        (modules()[a], modules()[b])
        for a, _, b in arrows()
        if modules().get(b, "").startswith("ralo_server.store")
        and modules().get(a, "").startswith("ralo_server.web")
    ],
)
def test_a_resource_asks_the_table_that_its_arrow_leads_to(resource, table):
    names = [name for name, module in attributes().items() if module == table]
    text = source_of(resource)
    assert any(f".{name}" in text for name in names), f"{resource} does not ask {table}: {names}"
