"""``ralo sample``: a sampler process, its signals and its threads.

torch and the sampler are imported once the signal handlers are there: that takes seconds, in
which a scheduler may already ask the process to end.
"""

import asyncio
import threading

import click

from ralo_core.cli.options import connection_options
from ralo_core.client import Connection
from ralo_core.supervise import STOP_SIGNALS


@click.command()
@connection_options
def sample(connection: Connection) -> None:
    """Run a sampler: lease problems, generate, score, upload.

    It takes everything else from the orchestrator, waits for one that is not up yet, and ends
    with the run. On SIGTERM, SIGINT and SIGUSR1 it uploads what is sampled, returns the other
    leases and ends.
    """
    asyncio.run(_sample(connection))


async def _sample(connection: Connection) -> None:
    stopping = threading.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stopping.set)

    import torch

    from ralo_core.config import SamplerSettings
    from ralo_worker.membership import join
    from ralo_worker.sampler.runtime import SECTIONS, Sampler

    try:
        member = await asyncio.to_thread(join, connection, "sampler", SECTIONS, stopping)
    except ConnectionError:
        return  # a signal came while it waited for a server: the client has logged that
    threads = member.config.section(SamplerSettings).threads
    if threads:
        torch.set_num_threads(threads)
    sampler = Sampler(member)
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, sampler.stop)
    if stopping.is_set():
        sampler.stop()
    await sampler.run()
