"""SQL is in `ralo_server.store` and nowhere else, so that another engine could take its place."""

import ast
import re
from pathlib import Path

import pytest

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


def test_the_search_finds_sql_where_there_is_some():
    found = {path.name for path in STORE.rglob("*.py") if list(sql_in(path))}
    assert {"schema.py", "database.py", "leases.py", "problems.py", "trees.py"} <= found
