"""``ralo train``: a trainer, in one process or several, and the signals of each.

With several, this process starts ranks as ``torchrun`` does; each rank is the command `rank`.
"""

import os
import threading

import click

from ralo_core.cli.main import log_to_stderr
from ralo_core.cli.options import connection_options
from ralo_core.client import Connection
from ralo_core.supervise import die_with, take_interrupts
from ralo_worker.cli.signals import stop_on_signals


@click.command()
@connection_options
@click.option(
    "--nproc", type=click.IntRange(min=1), default=1, show_default=True,
    help="Ranks on this machine, one per GPU.",
)  # fmt: skip
@click.option(
    "--nnodes", type=click.IntRange(min=1), default=1, show_default=True,
    help="Machines that compute each gradient together; each starts this command.",
)  # fmt: skip
@click.option(
    "--rdzv-endpoint", default="", metavar="HOST:PORT",
    help="Where the machines meet: a free port of one of them.",
)  # fmt: skip
@click.option("--rdzv-id", default="", help="Name of the meeting, the same on all machines.")
@click.option(
    "--max-restarts", type=click.IntRange(min=0), default=3, show_default=True,
    help="How often the ranks are started again after one has failed.",
)  # fmt: skip
def train(
    connection: Connection,
    nproc: int,
    nnodes: int,
    rdzv_endpoint: str,
    rdzv_id: str,
    max_restarts: int,
) -> None:
    """Run a trainer: lease batches, compute gradients, upload.

    It takes everything else from the orchestrator, waits for one that is not up yet, and ends
    with the run. On SIGTERM, SIGINT and SIGUSR1 it uploads the gradient that is finished and
    returns the batch under way.
    """
    if nproc == nnodes == 1:
        run_rank(connection)
        return
    if nnodes > 1 and not (rdzv_endpoint and rdzv_id):
        raise click.UsageError(
            "several nodes need --rdzv-endpoint and --rdzv-id to find each other"
        )
    from ralo_worker.trainer.parallel.ranks import Ranks

    os.environ.update(connection.environment())
    ranks = Ranks(
        nproc=nproc,
        nodes=nnodes,
        rendezvous=rdzv_endpoint,
        run_id=rdzv_id,
        max_restarts=max_restarts,
    )
    ranks.run(connection.options())


@click.command()
@connection_options
def rank(connection: Connection) -> None:
    """Run a trainer, or one rank of it in the environment that torchrun sets."""
    take_interrupts()  # not by the `ralo` command: a rank is a program of its own
    log_to_stderr()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with(os.getppid())  # else ranks outlive an agent that is killed
    run_rank(connection)


def run_rank(connection: Connection) -> None:
    """Join the group and the run, and train until the end or a signal."""
    import torch

    from ralo_core.config import TrainerSettings
    from ralo_worker.membership import accompany, join
    from ralo_worker.trainer.parallel.group import open_group
    from ralo_worker.trainer.runtime import SECTIONS, Trainer

    # Before the handlers: a rank that waits for ranks that never come must end by a signal.
    group = open_group()
    stopping = threading.Event()
    stop_on_signals(stopping)
    try:
        member = None
        if group.leads:
            member = join(connection, "trainer", SECTIONS, stopping)
        leader = group.control.share(member.client.worker_id if member else "")
        member = member or accompany(leader, connection, "trainer", SECTIONS, stopping)
    except ConnectionError:
        return  # a signal came while it waited for a server: the client has logged that
    threads = member.config.section(TrainerSettings).threads
    if threads:
        torch.set_num_threads(threads)
    Trainer(member, group).run()
