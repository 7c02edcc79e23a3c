"""Starts the ranks of a trainer on this machine, as ``torchrun`` does, and passes signals on.

A rank that dies ends the group; all ranks are started again, as often as is allowed.
"""

import os
import sys
import uuid
from collections.abc import Sequence

import attrs
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ralo_core import RaloError
from ralo_core.supervise import STOP_SIGNALS

_GRACE_SECONDS = 60
"""Ranks that were told to stop have so long to push their gradient and hand their batch back."""


@attrs.frozen(kw_only=True)
class Ranks:
    """`nproc` ranks on this machine, which is one of `nodes` that meet at `rendezvous`
    (``host:port``; one node needs none)."""

    nproc: int
    nodes: int = 1
    rendezvous: str = ""
    run_id: str = ""
    max_restarts: int = 3

    def run(self, arguments: Sequence[str]) -> None:
        """Run ``python -m ralo_worker.trainer`` with `arguments` in every rank until all end.

        Returns when they have ended by a signal, too. Raises `RaloError` once a rank has failed too
        often.
        """
        # Each rank has its share of the cores; torch would give it all of them.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.nproc)))
        command = ["-m", "ralo_worker.trainer", *arguments]
        try:
            elastic_launch(self._config(), sys.executable)(*command)
        except SignalException:
            return  # the agent has passed it on and waited
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            msg = (
                f"rank {rank} of the trainer failed ({failure.exitcode}) after "
                f"{self.max_restarts} restarts; its output is above"
            )
            raise RaloError(msg) from error

    def _config(self) -> LaunchConfig:
        return LaunchConfig(
            min_nodes=self.nodes,
            max_nodes=self.nodes,
            nproc_per_node=self.nproc,
            run_id=self.run_id or uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=self.rendezvous or "localhost:0",
            max_restarts=self.max_restarts,
            signals_to_handle=",".join(signal.name for signal in STOP_SIGNALS),
            shutdown_timeout=_GRACE_SECONDS,
        )
