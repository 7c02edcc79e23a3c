"""The third-party plugin of examples/: small, installed for real, listed, run, and as in README."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "ralo_example_plugin"
FILES = ("ralo_example_plugin.py", "pyproject.toml")

USE = """
from ralo_core import Response, BuildContext
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
registry = Registry(PluginHost().load())
context = BuildContext(role="cli")
provider = registry.build("problem_provider", "backwards", None, context)
reward = registry.build("reward", "overlap", None, context)
problem = next(iter(provider))
responses = [Response(text=t, finish_reason="eos", tokens=1) for t in (problem.answer, "?")]
print(problem.id, reward.score(problem, responses))
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_under_forty_lines():
    lines = sum(len((EXAMPLE / name).read_text().splitlines()) for name in FILES)
    assert lines < 40


@pytest.mark.parametrize("name", FILES)
def test_readme_shows_it_as_it_is(name):
    assert (EXAMPLE / name).read_text().strip() in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_it_installs_into_a_fresh_environment_is_listed_and_runs(tmp_path):
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python, ralo = (str(tmp_path / "venv" / "bin" / name) for name in ("python", "ralo"))
    targets = [str(ROOT / "ralo_core"), str(EXAMPLE)]
    run(python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), *targets)
    listed = {plugin["name"]: plugin for plugin in json.loads(run(ralo, "plugins", "--json"))}
    assert listed["example"]["distribution"] == "ralo-example-plugin"
    assert listed["example"]["state"] == "active"
    shown = run(ralo, "plugins")
    assert "backwards" in shown
    assert "overlap" in shown
    assert run(python, "-c", USE).strip() == "back-1 [1.0, 0.0]"
    installed = run(python, "-m", "pip", "list", "--format=freeze").lower()
    assert not any(name in installed for name in ("torch", "vllm", "falcon", "transformers"))


def test_it_keeps_the_contracts(monkeypatch):
    from ralo_core.testing import check_problem_provider, check_reward

    monkeypatch.syspath_prepend(str(EXAMPLE))
    import ralo_example_plugin

    check_problem_provider(lambda: ralo_example_plugin.Backwards(None, None))
    check_reward(ralo_example_plugin.Overlap(None, None))
