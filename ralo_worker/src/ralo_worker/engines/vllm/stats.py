"""`EngineStats` from vLLM's own counters.

vLLM calls `Counters.record` after every step.
"""

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from ralo_core import EngineStats


class Counters(StatLoggerBase):
    """Adds up what vLLM reports; one object per engine, written by its output loop only."""

    def __init__(self) -> None:
        self._running = self._waiting = 0
        self._prompt = self._cached = self._decoded = 0

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Take the numbers of one step."""
        if scheduler_stats is not None:
            self._running = scheduler_stats.num_running_reqs
            self._waiting = (
                scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            )
        if iteration_stats is not None:
            self._prompt += iteration_stats.prompt_token_stats.total
            self._cached += iteration_stats.prompt_token_stats.cached_tokens
            self._decoded += iteration_stats.num_generation_tokens

    def log_engine_initialized(self) -> None:
        """Do nothing: vLLM calls it once at the start."""

    def read(self) -> EngineStats:
        """Return the sums; safe from any thread."""
        return EngineStats(
            running=self._running,
            waiting=self._waiting,
            prompt_tokens=self._prompt,
            cached_tokens=self._cached,
            decoded_tokens=self._decoded,
        )
