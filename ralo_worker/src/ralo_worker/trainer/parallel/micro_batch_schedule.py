"""What one rank computes of a batch, turn by turn: a micro-batch each, then idle turns.

Neighbours: `objective` walks the turns, `pace` says when to stop and how many are idle.
"""

from collections.abc import Iterator, Sequence

import attrs

from ralo_worker.trainer.layout.micro_batches import MicroBatch, cut, micro_batches
from ralo_worker.trainer.layout.packs import Pack
from ralo_worker.trainer.parallel.stop_check import StopCheck


@attrs.frozen(eq=False)
class Share:
    """The `packs` that a rank computes, maybe none; `spare` is what it is idle with: any pack."""

    packs: Sequence[Pack]
    spare: Pack


class MicroBatchSchedule:
    """The turns of `share` in micro-batches of at most `max_tokens`, at weights of `version`."""

    def __init__(self, share: Share, max_tokens: int, version: int, pace: StopCheck) -> None:
        self._share, self._max_tokens, self._version = share, max_tokens, version
        self._pace = pace
        count = sum(1 for _ in cut(share.packs, max_tokens))
        self._idle = pace.turns(count) - count

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield the micro-batches. Raises `Halted` between two of them."""
        for batch in micro_batches(self._share.packs, self._max_tokens, self._version):
            self._pace.check()
            yield batch

    def idle(self) -> Iterator[MicroBatch]:
        """Yield what the idle turns are taken with, once the others are."""
        for _ in range(self._idle):
            self._pace.check()
            yield from micro_batches([self._share.spare], self._max_tokens, self._version)
