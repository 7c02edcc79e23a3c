"""The micro-batches that one rank runs of a batch: its own, then idle ones where ranks keep in
step."""

from collections.abc import Iterator, Sequence

import attrs

from ralo_worker.trainer.layout.micro_batches import MicroBatch, cut, micro_batches
from ralo_worker.trainer.layout.packs import Pack
from ralo_worker.trainer.parallel.stop_check import StopCheck


@attrs.frozen(eq=False)
class RankShard:
    """The `packs` that a rank computes, maybe none; `spare` is any pack of the batch, for a rank
    that must run a micro-batch and has none left."""

    packs: Sequence[Pack]
    spare: Pack


class MicroBatchSchedule:
    """The micro-batches of `shard`, of at most `max_tokens`, at weights of `version`."""

    def __init__(self, shard: RankShard, max_tokens: int, version: int, stop: StopCheck) -> None:
        self._shard, self._max_tokens, self._version = shard, max_tokens, version
        self._stop = stop
        count = sum(1 for _ in cut(shard.packs, max_tokens))
        self._idle = stop.steps(count) - count

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield the micro-batches. Raises `Halted` between two of them."""
        for batch in micro_batches(self._shard.packs, self._max_tokens, self._version):
            self._stop.check()
            yield batch

    def idle(self) -> Iterator[MicroBatch]:
        """Yield the idle micro-batches, to be run after the others. Raises `Halted` as those."""
        for _ in range(self._idle):
            self._stop.check()
            yield from micro_batches([self._shard.spare], self._max_tokens, self._version)
