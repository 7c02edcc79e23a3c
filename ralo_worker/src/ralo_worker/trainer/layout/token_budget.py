"""How many tokens a micro-batch may have, found out by running out of memory.

The setting is what to begin with. Where it does not fit, the work is begun anew with half of what
failed, and the process remembers. That is right for any work whose result does not depend on how
the micro-batches are cut.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import attrs
import torch

from ralo_core import RaloError
from ralo_worker.trainer.layout.micro_batches import MicroBatch

log = logging.getLogger(__name__)

Result = TypeVar("Result")
_CPU_MESSAGES = ("can't allocate memory", "not enough memory")


@attrs.define
class TokenBudget:
    """At most `tokens`, padding included, go through the model at a time (or one row)."""

    tokens: int

    def run(
        self,
        cut: Callable[[int], Iterable[MicroBatch]],
        work: Callable[[Iterable[MicroBatch]], Result],
    ) -> Result:
        """Return what `work` makes of the micro-batches that `cut` makes for a budget.

        `work` is called again, from the start, each time that memory runs out. Raises `RaloError`
        where a single row is too much.
        """
        while True:
            batches = _Watched(cut(self.tokens))
            try:
                return work(batches)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not in the handler above: the error holds the tensors of every frame it came through.
            self._shrink(batches.newest)
            _release()

    def _shrink(self, failed: MicroBatch | None) -> None:
        tokens = self.tokens if failed is None else failed.tokens.numel()
        if tokens == 1 or (failed is not None and len(failed.loss_batch.mask) == 1):
            msg = (
                f"a sequence of {tokens} tokens does not fit the memory even by itself. What "
                "takes less: trainer.checkpoint_layers = 1, trainer.precision = 'bfloat16', a "
                "smaller trainer.head_chunk_mb, trainer.offload_gradients = true on a GPU, shorter "
                "responses (generation.max_tokens)"
            )
            raise RaloError(msg)
        self.tokens = min(self.tokens, tokens) // 2
        log.warning(
            "out of memory with %d tokens in one forward pass; from now on at most %d are. "
            "trainer.microbatch_tokens = %d saves the next trainer the attempt",
            tokens, self.tokens, self.tokens,
        )  # fmt: skip


class _Watched:
    """Passes micro-batches on; `newest` is the one being worked on, None while it is being made."""

    def __init__(self, batches: Iterable[MicroBatch]) -> None:
        self._batches = batches
        self.newest: MicroBatch | None = None

    def __iter__(self) -> Iterator[MicroBatch]:
        for batch in self._batches:
            self.newest = batch
            yield batch
            self.newest = None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` is how torch, or numpy, reports that memory has run out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(message in str(error) for message in _CPU_MESSAGES)


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
