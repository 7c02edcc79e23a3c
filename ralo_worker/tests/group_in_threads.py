"""Channels between threads of one process, in place of torch's between processes.

For tests of what ranks say to each other, on more ranks and more often than processes allow.
"""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import attrs
from patience import PATIENCE

from ralo_worker.trainer.parallel.group import Channel


@attrs.define
class Exchange:
    """What the ranks share."""

    size: int
    barrier: threading.Barrier = attrs.field(init=False)
    values: list = attrs.field(init=False)
    pipes: dict = attrs.field(init=False)

    def __attrs_post_init__(self):
        self.barrier, self.values = (
            threading.Barrier(self.size, timeout=PATIENCE),
            [None] * self.size,
        )
        ranks = range(self.size)
        self.pipes = {(a, b): queue.Queue() for a in ranks for b in ranks}

    def gather(self, rank, value):
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


@attrs.frozen(eq=False)
class ThreadChannel(Channel):
    """The channel of one rank."""

    @property
    def exchange(self):
        return self._handle

    def share(self, value):
        return self.exchange.gather(self.rank, value)[0]

    def gather(self, value):
        return self.exchange.gather(self.rank, value)

    def send(self, data, target):
        self.exchange.pipes[self.rank, target].put(bytes(data))

    def receive(self, count, source):
        data = self.exchange.pipes[source, self.rank].get(timeout=PATIENCE)
        assert len(data) == count
        return memoryview(data)


def on_every_rank(size, call):
    """Return what `call` gives for the channel of each of `size` ranks, in threads."""
    exchange = Exchange(size)
    channels = [ThreadChannel(rank, size, exchange) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(call, channels))
