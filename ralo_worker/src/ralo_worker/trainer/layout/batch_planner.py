"""From the scored trees of a batch to the packs that are computed of it.

    trees -> advantages -> rows (responses) -> packs (a shared prefix once) -> joined packs

A plan depends on the trees and on the settings only, never on what a process has learnt of its
memory or on where objects lie: the ranks of a trainer make the same plan without a message.
"""

from collections.abc import Sequence

import attrs

from ralo_core import RolloutTree
from ralo_core.protocols import AdvantageEstimator, Loss
from ralo_worker.trainer.layout.forests import make_forests
from ralo_worker.trainer.layout.packs import Pack, make_packs
from ralo_worker.trainer.layout.rows import Row, make_rows, without_zeros


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be computed of a batch: `packs`, none where nothing has a gradient. `left_out` is
    the normaliser of the rows that are in none, because their gradient is zero."""

    packs: Sequence[Pack]
    left_out: float


@attrs.frozen(kw_only=True)
class BatchPlanner:
    """Plans batches for micro-batches of `microbatch_tokens`.

    A pack has at most `shared_tokens` tokens; 0: every row is a pack of its own. `pair_cost` is
    that of `make_packs`. `every_row` keeps rows without any advantage: where the run adds a term to
    the loss, they have a gradient, too.
    """

    advantage: AdvantageEstimator
    loss: Loss
    every_row: bool
    microbatch_tokens: int
    shared_tokens: int
    pair_cost: float

    def plan(self, trees: Sequence[RolloutTree]) -> Plan:
        """Return what is computed of `trees`: the same for the same trees and settings."""
        rows: Sequence[Row] = make_rows(trees, self.advantage.estimate(trees))
        left_out = 0.0
        if not self.every_row:
            rows, left_out = without_zeros(rows, self.loss)
        return Plan(packs=self._packs(rows, self.microbatch_tokens), left_out=left_out)

    def joined(self, packs: Sequence[Pack]) -> Sequence[Pack]:
        """Return `packs`, some of them joined to one sequence where that is cheaper."""
        return self._joined(packs, self.microbatch_tokens)

    def cut_smaller(self, packs: Sequence[Pack], tokens: int) -> Sequence[Pack]:
        """Return the rows of `packs` laid out anew, for micro-batches of `tokens`: less than those
        that they were planned for."""
        rows = [row for pack in packs for row in pack.rows]
        return self._joined(self._packs(rows, tokens), tokens)

    def _packs(self, rows: Sequence[Row], tokens: int) -> Sequence[Pack]:
        return list(make_packs(rows, self._limit(tokens), self.pair_cost)) if rows else ()

    def _joined(self, packs: Sequence[Pack], tokens: int) -> Sequence[Pack]:
        return make_forests(packs, self._limit(tokens), tokens, self.pair_cost) if packs else ()

    def _limit(self, tokens: int) -> int:
        """Return the most tokens of a pack, where a micro-batch has `tokens`."""
        return min(self.shared_tokens, tokens)
