"""``ralo eval``: benchmarks asked of a model, or of a version of a running run."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console

from ralo.cli.run_client import RunTarget
from ralo.run.evaluation import Progress, ask, config_assignments
from ralo.run.local import LocalRun, server_port, worker_threads
from ralo.views.result_table import result_table
from ralo.views.results import HELD_OUT, Result
from ralo_core.cli.config_source import ConfigSource
from ralo_core.cli.options import ca_option, config_options, token_option
from ralo_core.errors import RaloError
from ralo_core.supervise import StopSignal, Supervisor

_FILE_WIDTH = 160
"""Columns where there is no terminal that has some."""


@click.command(name="eval")
@click.argument("model", required=False, default="")
@click.option("--benchmark", "benchmarks", multiple=True, required=True, metavar="NAME",
              help="A benchmark to evaluate; can be given several times.")  # fmt: skip
@click.option("--samples", type=click.IntRange(min=1), help="Responses to each item.")
@click.option("--samplers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Sampler processes for MODEL.")  # fmt: skip
@click.option("--run-dir", type=click.Path(path_type=Path),
              help="With MODEL: where the evaluation lies, default runs/eval-TIME; given again, it "
              "continues. Without MODEL: the run that is asked.")  # fmt: skip
@click.option(
    "--server",
    "url",
    default="",
    metavar="URL",
    help="The orchestrator's URL, where no --run-dir is given.",
)
@click.option("--version", type=click.IntRange(min=0), help="Version of the run; default: newest.")
@token_option("Token of the admin, where --run-dir does not have it.")
@click.option("--json", "as_json", is_flag=True, help="Print results as GET /eval/results does.")
@config_options
@ca_option
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Evaluate MODEL, a Hugging Face model directory, without training; or, with --run-dir or
    --server and no MODEL, a version of a run that is running."""
    as_json = options.pop("as_json")
    if options["model"]:
        results = _of_model(ctx, options, Console(stderr=as_json))
    else:
        results = _of_run(options)
    if as_json:
        click.echo(json.dumps(results, indent=1, ensure_ascii=False))
        return
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(result_table(results), highlight=False)


def _of_run(options: Mapping[str, Any]) -> Sequence[Result]:
    """Ask a running run."""
    if options["samples"] or options["source"] != ConfigSource():
        msg = "a run asks its benchmarks as its config says; these options are for a MODEL"
        raise click.UsageError(msg)
    run_dir, url = str(options["run_dir"] or ""), options["url"]
    if bool(run_dir) == bool(url):
        raise click.UsageError("give a MODEL, or one of --run-dir and --server for a run")
    target = RunTarget(run_dir=run_dir, url=url, token=options["token"], ca=options["ca"])
    with target.client() as client:
        return ask(client, options["benchmarks"], options["version"])


def _of_model(ctx: click.Context, options: Mapping[str, Any], console: Console) -> Sequence[Result]:
    """Evaluate a model in a run of its own."""
    if options["url"] or options["version"] is not None:
        raise click.UsageError("--server and --version are for a run, not for a MODEL")
    model = Path(options["model"]).resolve()
    if not model.is_dir():
        msg = f"{options['model']} is no model directory"
        raise RaloError(msg)
    asked = config_assignments(str(model), options["benchmarks"], options["samples"], HELD_OUT)
    source: ConfigSource = options["source"]
    # The person's own assignments come last, so that they win.
    source = attrs.evolve(source, assignments=[*asked, *source.assignments])
    config = source.gather(ctx.find_root().obj)
    run_dir = options["run_dir"] or Path("runs") / f"eval-{time.strftime('%Y%m%d-%H%M%S')}"
    local = LocalRun(
        config=config,
        run_dir=run_dir,
        serve_options=[
            *source.options(),
            *server_port(config),
            *worker_threads(config, options["samplers"]),
        ],
        samplers=options["samplers"],
        trainers=0,
        nproc=1,
        ca=options["ca"],
        supervisor=Supervisor(),
        stopped=StopSignal(),
        # A run that drains from the beginning trains nothing and evaluates what it has.
        before_workers=lambda client: client.stop(),
    )
    console.print(f"run directory: {run_dir} (logs in {run_dir / 'logs'})", soft_wrap=True)
    stats = local.execute(Progress(console))
    if stats["state"] != "finished":
        console.print(f"stopped; the same command with --run-dir {run_dir} continues it")
    return list(stats["evaluations"])
