"""The rules of docs/architecture.md that keep the distributions apart."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = {
    "attrs", "blake3", "cattrs", "click", "numpy", "packaging", "pluggy", "ralo_core", "requests",
    "rich", "safetensors", "zstandard",
}  # fmt: skip
TEST_KIT = {"hypothesis", "pytest", "torch"}
LAUNCHERS = {"submitit"}
"""Imported on use; an extra of ralo."""
PLUGIN = {"attrs", "numpy", "ralo_core", "torch"}
OPERATOR = CORE | {"ralo", "matplotlib"}
TASKS = PLUGIN | {"click", "datasets", "math_verify", "ralo_tasks", "tokenizers", "transformers"}
SERVER = CORE | {
    "falcon",
    "fsspec",
    "gunicorn",
    "matplotlib",
    "prometheus_client",
    "ralo_server",
    "scipy",
    "tokenizers",
    "torch",
    "wandb",
}
WORKER = CORE | {
    "peft",
    "ralo_worker",
    "tokenizers",
    "torch",
    "transformers",
    "urllib3",
    "vllm",
}


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("ralo_core/src", CORE),
        ("ralo_server/src", SERVER),
        ("ralo_worker/src", WORKER),
        ("ralo/src", OPERATOR),
        ("plugins/ralo_tasks/src", TASKS),
        ("plugins/ralo_treepo/src", PLUGIN | {"ralo_treepo"}),
        ("plugins/ralo_grpo/src", PLUGIN | {"ralo_grpo"}),
    ],
)
def test_a_distribution_imports_only_what_its_rule_allows(folder, allowed):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        extra = TEST_KIT if "testing" in path.parts else set()
        extra |= LAUNCHERS if "launch" in path.parts else set()
        assert imported_modules(path) <= allowed | extra, path


def core_modules(path: Path) -> set[str]:
    """Return the modules of core that a file imports from."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    modules = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    return {name for name in modules if name.split(".")[0] == "ralo_core"}


@pytest.mark.parametrize("folder", ["plugins", "examples"])
def test_a_plugin_needs_nothing_of_core_but_its_front(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        if "tests" in path.relative_to(ROOT).parts:
            assert core_modules(path) <= {"ralo_core", "ralo_core.testing"}, path
        else:
            assert core_modules(path) <= {"ralo_core"}, path


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("ralo_core", "torch,requests,click,rich,cattrs,ralo_core.config,ralo_core.registry"),
        ("ralo_core.cli.main,ralo_core.client,ralo_core.wire", "torch,falcon,vllm,transformers"),
        ("ralo_server.web.app,ralo_server.plugin", "torch,vllm,transformers,datasets,fsspec,scipy"),
        ("ralo_worker.plugin", "torch,vllm,transformers"),
        ("ralo.plugin", "torch,falcon,vllm,transformers"),
        ("ralo_tasks", "torch,vllm,transformers,datasets,math_verify"),
        ("ralo_treepo", "torch,vllm,transformers"),
        ("ralo_grpo", "torch,vllm,transformers"),
    ],
)
def test_importing_does_not_pull_in_what_the_process_must_not_have(modules, forbidden):
    code = (
        f"import sys, importlib\nfor m in '{modules}'.split(','): importlib.import_module(m)\n"
        f"found = [m for m in '{forbidden}'.split(',') if m in sys.modules]\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
