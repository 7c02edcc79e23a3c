"""What one rank computes of a batch, turn by turn: a micro-batch each, then idle turns.

Neighbours: `objective` walks the turns, `pace` says when to stop and how many are idle.
"""

from collections.abc import Iterator, Sequence

import attrs

from ralo_worker.trainer.micro_batches import MicroBatch, micro_batches
from ralo_worker.trainer.pace import Pace
from ralo_worker.trainer.packs import Pack


@attrs.frozen(eq=False)
class Share:
    """The `packs` that a rank computes, maybe none; `spare` is what it is idle with: any pack."""

    packs: Sequence[Pack]
    spare: Pack


@attrs.define(eq=False)
class Turns:
    """The turns of `share` in micro-batches of at most `max_tokens`, at weights of `version`."""

    share: Share
    max_tokens: int
    version: int
    pace: Pace
    _taken: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield the micro-batches. Raises `Halted` between two of them."""
        self._taken = 0
        for batch in micro_batches(self.share.packs, self.max_tokens, self.version):
            self.pace.check()
            self._taken += 1
            yield batch

    def idle(self) -> Iterator[MicroBatch]:
        """Yield what the idle turns are taken with, once the others are."""
        for _ in range(self.pace.idle_turns(self._taken)):
            self.pace.check()
            yield from micro_batches([self.share.spare], self.max_tokens, self.version)
