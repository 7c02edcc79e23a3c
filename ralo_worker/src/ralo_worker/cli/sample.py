"""``ralo sample``: a sampler process.

Neighbours: `ralo_worker.sampler.runtime` does the work; this module sets up process and signals.
"""

import asyncio
import threading
from pathlib import Path

import click

from ralo_core.cli.options import connection_options
from ralo_core.supervise import STOP_SIGNALS
from ralo_worker.cli.options import source_option


@click.command()
@connection_options
@source_option
def sample(url: str, token: str, ca: Path | None, relays: tuple[str, ...]) -> None:
    """Run a sampler: lease problems, generate, score, upload.

    It takes everything else from the orchestrator, waits for one that is not up yet, and ends
    with the run. On SIGTERM, SIGINT and SIGUSR1 it hands in what is sampled, gives back the rest
    and ends.
    """
    asyncio.run(_sample(url, token, ca, relays))


async def _sample(url: str, token: str, ca: Path | None, relays: tuple[str, ...]) -> None:
    stopping = threading.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stopping.set)

    import torch

    from ralo_core.config import SamplerSettings
    from ralo_worker.membership import join
    from ralo_worker.sampler.runtime import SECTIONS, Sampler

    try:
        member = await asyncio.to_thread(
            join, url, "sampler", SECTIONS, stopping, token=token, ca=ca, relays=relays
        )
    except ConnectionError:
        return  # told to stop while it waited for a server: the client has said so
    threads = member.config.section(SamplerSettings).threads
    if threads:
        torch.set_num_threads(threads)
    sampler = Sampler(member)
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, sampler.stop)
    if stopping.is_set():
        sampler.stop()
    await sampler.run()
