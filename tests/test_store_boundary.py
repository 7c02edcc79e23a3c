"""SQL is in `ralo_server.store` and nowhere else, so that another engine could take its place."""

import ast
import re
from pathlib import Path

import pytest

from ralo_server.store.states import LIFECYCLES

RENAMED = {"run_values", "version_holds"}
"""Tables that `CREATE TABLE` knows by an earlier name."""
ROOT = Path(__file__).parent.parent
STORE = ROOT / "ralo_server" / "src" / "ralo_server" / "store"
SQL = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|BEGIN|COMMIT|ROLLBACK|VACUUM)\s"
)
SOURCES = [
    path
    for folder in ("ralo_core", "ralo_server", "ralo_worker", "plugins")
    for path in sorted((ROOT / folder).glob("**/src/**/*.py"))
    if STORE not in path.parents
]


def sql_in(path):
    """Return what a module has of SQL: its text, and the driver."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if SQL.match(node.value):
                yield f"line {node.lineno}: {node.value[:60]}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            if "sqlite3" in names:
                yield f"line {node.lineno}: import sqlite3"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_outside_the_store_has_no_sql(path):
    assert list(sql_in(path)) == []


WRITES = re.compile(
    r"\b(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM) (?:OR \w+ )?(\w+)\b(?! = )", re.IGNORECASE
)
MOVES = re.compile(r"\b([A-Z]+)\.(?:insert|move|remove)\(")
TABLES = {"PROBLEMS": "problems", "TREES": "trees", "BATCHES": "batches", "GRADIENTS": "gradients",
          "VERSIONS": "versions", "EVALUATIONS": "evaluations", "SHARDS": "evaluation_shards",
          "WORKERS": "workers"}  # fmt: skip


def writers():
    """Return the modules of the store that write each table, by table; DDL is not counted."""
    found = {}
    for path in sorted(STORE.rglob("*.py")):
        if path.name == "schema.py":
            continue
        text = path.read_text(encoding="utf-8")
        tables = {name for name in WRITES.findall(text) if name.islower()} - {"set"}
        tables |= {TABLES[name] for name in MOVES.findall(text) if name in TABLES}
        for table in tables:
            found.setdefault(table, set()).add(str(path.relative_to(STORE)))
    return found


def test_every_table_is_written_by_one_module():
    created = set(re.findall(r"CREATE TABLE (\w+)", (STORE / "schema.py").read_text()))
    found = {table: modules for table, modules in writers().items() if table in created | RENAMED}
    assert {table: modules for table, modules in found.items() if len(modules) > 1} == {}
    assert created - {"facts", "readers"} <= found.keys()


def test_no_state_is_a_word_in_sql():
    """Queries take states from `store.states`, so that each is spelled once."""
    states = {state for life in LIFECYCLES for state in life.transitions}
    for path in sorted(STORE.rglob("*.py")):
        if path.name not in ("schema.py", "states.py"):
            quoted = set(
                re.findall(r"(?:=|IN \(|,) ?'([a-z_]+)'", path.read_text(encoding="utf-8"))
            )
            assert quoted.isdisjoint(states), path


def test_the_search_finds_sql_where_there_is_some():
    found = {path.name for path in STORE.rglob("*.py") if list(sql_in(path))}
    assert {"schema.py", "database.py", "leases.py", "problems.py", "trees.py"} <= found
