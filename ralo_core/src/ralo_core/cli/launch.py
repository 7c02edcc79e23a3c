"""``ralo launch``: what runs beside the orchestrator and its workers.

Neighbours: `ralo_core.launch` knows how each of it is configured; this module writes it down and
says how to start it.
"""

from pathlib import Path

import click
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ralo_core.cli.options import ca_option
from ralo_core.launch.relay import CONFIG_FILE, Relay


@click.group()
def launch() -> None:
    """Set up what runs beside the orchestrator."""


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

    Workers are told of it with --source, RALO_WEIGHT_SOURCES or weights.sources.
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
