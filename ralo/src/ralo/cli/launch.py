"""``ralo launch``: a run on this machine or a cluster, and the relays beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ralo.launch import local as on_this_machine
from ralo.launch import slurm as on_slurm
from ralo.launch.kubernetes import documents
from ralo.launch.plan import Plan
from ralo.launch.relay import CONFIG_FILE, Relay
from ralo.launch.yaml_text import to_yaml
from ralo.run.local import ensure_model
from ralo_core.cli.config_source import ConfigSource
from ralo_core.cli.options import ca_option, config_options, with_options
from ralo_core.config import LaunchSettings, RunSettings
from ralo_core.supervise import StopSignal, Supervisor


@click.group()
def launch() -> None:
    """Start a run on this machine or a cluster; set up relays of weights.

    How many samplers and trainers, and on what, is in the section [launch] of the configuration.
    """


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the configuration, ``--run-dir`` and ``--dry-run`` to a command."""
    return with_options(
        command,
        config_options,
        click.option(
            "--run-dir",
            type=click.Path(path_type=Path),
            required=True,
            help="Where everything of the run lies; given again, the run continues.",
        ),
        click.option("--dry-run", is_flag=True, help="Print what would be started."),
    )


@launch.command()
@plan_options
@click.pass_context
def local(ctx: click.Context, source: ConfigSource, run_dir: Path, dry_run: bool) -> None:
    """Start a run on this machine that continues when the terminal is closed."""
    plan = _plan(ctx, source, run_dir, dry_run)
    if dry_run:
        for process in on_this_machine.processes_of(plan):
            click.echo(f"{process.name}: ralo {' '.join(process.arguments)}")
        return
    click.echo(f"started; its log is {on_this_machine.start(plan)}")
    _say_what_next(run_dir)


@launch.command()
@plan_options
@click.pass_context
def slurm(ctx: click.Context, source: ConfigSource, run_dir: Path, dry_run: bool) -> None:
    """Submit a run to SLURM; every machine must see --run-dir.

    A job for the orchestrator, an array for the samplers, a job for each trainer.
    """
    plan = _plan(ctx, source, run_dir, dry_run)
    if dry_run:
        for submission in on_slurm.submissions(plan):
            click.echo(on_slurm.script(plan, submission))
        return
    click.echo(f"submitted: jobs {', '.join(on_slurm.submit(plan))}")
    _say_what_next(run_dir)


@launch.command()
@config_options
@click.option("--name", default="ralo", show_default=True, help="Begins the name of each object.")
@click.pass_context
def kubernetes(ctx: click.Context, source: ConfigSource, name: str) -> None:
    """Print the manifests of a run, for kubectl apply -f -.

    run.model is a path in the image or a Hugging Face directory on its volume.
    """
    config = source.gather(ctx.find_root().obj)
    click.echo(to_yaml(documents(name, source.recipe, config)), nl=False)


def _plan(ctx: click.Context, source: ConfigSource, run_dir: Path, dry_run: bool) -> Plan:
    """Return the plan; the embedded model is made unless it is only to be looked at."""
    config = source.gather(ctx.find_root().obj)
    # Processes on other machines may start in another directory.
    file = source.config_file.resolve() if source.config_file else None
    settings = config.section(RunSettings)
    tiny = source.tiny or not settings.model
    options = attrs.evolve(source, config_file=file, tiny=tiny).options()
    if not dry_run:
        options += ["--set", f"run.model={_model(settings)}"]
    return Plan(
        run_dir=run_dir.resolve(),
        serve_options=options,
        settings=config.section(LaunchSettings),
    )


def _model(settings: RunSettings) -> Path:
    return ensure_model(settings, Supervisor(), StopSignal()).resolve()


def _say_what_next(run_dir: Path) -> None:
    for command in ("status", "logs -f", "stop"):
        click.echo(f"ralo {command} {run_dir}")


@launch.command()
@click.option("--server", "url", required=True, metavar="URL", help="The orchestrator's URL.")
@click.option(
    "--listen", default="59889", show_default=True, metavar="[ADDRESS:]PORT", help="Where to serve."
)
@click.option(
    "--cache-dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("relay"),
    show_default=True,
    help="Folder of the configuration and the cached parts.",
)
@click.option(
    "--max-gb",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Size of the cache; the parts unused for longest go first.",
)
@ca_option
def relay(url: str, listen: str, folder: Path, max_gb: int, ca: Path | None) -> None:
    """Write the nginx configuration of a relay: one per site fetches each weight part once.

    Workers use it if --source, RALO_WEIGHT_SOURCES or weights.sources names it.
    """
    made = Relay(
        server=url,
        listen=listen,
        folder=folder,
        max_gb=max_gb,
        ca=ca or Path(DEFAULT_CA_BUNDLE_PATH),
    ).config()
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(made, encoding="utf-8")
    click.echo(f"start it with: nginx -p {folder.resolve()} -c {CONFIG_FILE}")
