"""``ralo train``: a trainer process.

Neighbours: `ralo_worker.trainer.runtime` does the work; this module sets up process and signals.
"""

import signal
import threading
from pathlib import Path

import click

from ralo_core.cli.options import connection_options
from ralo_worker.cli.options import source_option


@click.command()
@connection_options
@source_option
def train(url: str, token: str, ca: Path | None, relays: tuple[str, ...]) -> None:
    """Run a trainer: lease batches, compute gradients, upload.

    It takes everything else from the orchestrator, waits for one that is not up yet, and ends
    with the run. On SIGTERM it finishes the batch under way first.
    """
    import torch

    from ralo_core.config import TrainerSettings
    from ralo_worker.membership import join
    from ralo_worker.trainer.runtime import SECTIONS, Trainer

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        member = join(url, "trainer", SECTIONS, stopping, token=token, ca=ca, relays=relays)
    except ConnectionError:
        return  # told to stop while it waited for a server: the client has said so
    threads = member.config.section(TrainerSettings).threads
    if threads:
        torch.set_num_threads(threads)
    Trainer(member).run()
