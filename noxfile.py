"""The project's tasks: ``nox -s demo``, ``tests``, ``lint``, ``bench`` and ``chaos``."""

import time
from pathlib import Path

import nox

ROOT = Path(__file__).parent
DISTRIBUTIONS = (
    "ralo_core",
    "ralo_server",
    "ralo_worker",
    "plugins/ralo_treepo",
    "plugins/ralo_grpo",
)

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


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test; TRL's losses are what ours are compared with."""
    extra = ("pytest", "hypothesis", "pyyaml", "jsonschema", "matplotlib", "trl")
    install(session, *extra, "s3fs", "moto[server]")
    session.run("pytest", *session.posargs)


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
    install(session, "trl", "matplotlib")
    for script in session.posargs or sorted(str(path) for path in ROOT.glob("benchmarks/*.py")):
        session.run("python", script)


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill a thousand processes and audit what is left; positional: kills, seed, kills per run."""
    install(session)
    session.run("python", "-m", "chaos", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests")})
