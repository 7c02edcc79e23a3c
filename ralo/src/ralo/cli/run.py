"""``ralo run``: the command line of `ralo.run.local`."""

import time
from pathlib import Path

import attrs
import click
from rich.console import Console

from ralo.run.local import LocalRun, ensure_model, server_port, step_size, worker_threads
from ralo.run.summary import summary
from ralo.views.view import LiveView, PlainView
from ralo_core.access import TOKENS_FILE, read_tokens
from ralo_core.cli.config_source import ConfigSource
from ralo_core.cli.options import ca_option, config_options
from ralo_core.config import RunSettings
from ralo_core.supervise import StopSignal, Supervisor


@click.command()
@config_options
@click.option("--run-dir", type=click.Path(path_type=Path), help="Default: runs/NAME.")
@click.option("--samplers", default=1, show_default=True, help="Sampler processes.")
@click.option("--trainers", default=1, show_default=True, help="Trainer processes.")
@click.option(
    "--nproc", type=click.IntRange(min=1), default=1, show_default=True,
    help="Ranks of every trainer.",
)  # fmt: skip
@click.option("--plain", is_flag=True, help="Lines instead of a live view.")
@ca_option
@click.pass_context
def run(
    ctx: click.Context,
    source: ConfigSource,
    run_dir: Path | None,
    samplers: int,
    trainers: int,
    nproc: int,
    plain: bool,
    ca: Path | None,
) -> None:
    """Train on this machine: orchestrator, samplers and trainers together.

    The same command with the same --run-dir continues a run that was stopped.
    """
    console = Console()
    config = source.gather(ctx.find_root().obj)
    settings = config.section(RunSettings)
    run_dir = run_dir or Path("runs") / (settings.name or _new_name(source.recipe))
    supervisor, stopped = Supervisor(), StopSignal()
    if not settings.model:
        console.print("no run.model given: using the embedded tiny model (made once, then cached)")
    model = ensure_model(settings, supervisor, stopped)
    # The processes get the model's path, which would hide that it is the tiny one.
    source = attrs.evolve(source, tiny=source.tiny or not settings.model)
    local = LocalRun(
        config=config,
        run_dir=run_dir,
        serve_options=[
            *source.options(),
            *("--set", f"run.model={model}"),
            *server_port(config),
            *step_size(config, trainers),
            *worker_threads(config, samplers + trainers * nproc),
        ],
        samplers=samplers,
        trainers=trainers,
        nproc=nproc,
        ca=ca,
        supervisor=supervisor,
        stopped=stopped,
        before_workers=lambda client: _show_dashboard(console, client.transport.url, run_dir),
    )
    console.print(f"run directory: {run_dir} (logs in {run_dir / 'logs'})", soft_wrap=True)
    quiet = plain or not console.is_terminal
    stats = local.execute(PlainView(console) if quiet else LiveView(console))
    again = ["ralo", "run", *source.options(), "--run-dir", str(run_dir)]
    for line in summary(stats, run_dir, again):
        console.print(line, highlight=False, soft_wrap=True)


def _show_dashboard(console: Console, url: str, run_dir: Path) -> None:
    asks = f"; it asks for a token of {run_dir / TOKENS_FILE}" if read_tokens(run_dir) else ""
    console.print(f"dashboard: {url}{asks}", soft_wrap=True)


def _new_name(recipe: str) -> str:
    return f"{recipe or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
