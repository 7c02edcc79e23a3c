"""The thread that owns the decoder: takes jobs, admits rows, steps, completes futures.

A failure in the decoder is handed to every future that waits, so that no caller waits without end.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import attrs

from ralo_core import Completion, EngineStats, GenerationRequest, RaloError
from ralo_worker.engines.transformers.decoding import Decoder
from ralo_worker.engines.transformers.slots import Row

ADMIT_SHARE = 8
"""Admit as soon as the newcomers are at least one in so many of the running rows ..."""
ADMIT_STEPS = 4
"""... or this many steps after the last admission: prompts cost a forward pass of their own."""

_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Job:
    """One `submit` call; its future is done when the last row is done."""

    future: Future[list[Completion]]
    completions: list[Completion | None]
    remaining: int

    def rows(self, requests: Sequence[GenerationRequest]) -> list[Row]:
        return [Row(r, partial(self._done, i), owner=self) for i, r in enumerate(requests)]

    def _done(self, index: int, completion: Completion) -> None:
        self.completions[index] = completion
        self.remaining -= 1


class DecodeThread:
    """Runs `decoder` until `close`; `submit` and `call` are safe from any thread."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._messages: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._jobs: list[_Job] = []
        self._steps_since_admission = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ralo-decode", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[GenerationRequest]) -> Future[list[Completion]]:
        """Queue requests; the future gives their completions in order."""
        job = _Job(Future(), [None] * len(requests), len(requests))
        self._send(partial(self._enqueue, job, job.rows(requests)))
        return job.future

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` on the thread between two decoding steps."""
        future: Future[Any] = Future()
        self._send(partial(_run_into, future, function))
        return future

    def stats(self) -> EngineStats:
        """Return how busy the decoder is; the numbers may be of two neighbouring steps."""
        counts = self._decoder.counts
        return EngineStats(
            running=self._decoder.live,
            waiting=len(self._waiting),
            prompt_tokens=counts.prompt,
            cached_tokens=counts.cached,
            decoded_tokens=counts.decoded,
        )

    def close(self) -> None:
        """Stop after the step under way; whoever still waits gets a `RaloError`."""
        with self._lock:
            already, self._closed = self._closed, True
        if not already:
            self._messages.put(None)
        self._thread.join()

    def _send(self, message: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                msg = "the inference engine is closed"
                raise RaloError(msg)
            self._messages.put(message)

    def _run(self) -> None:
        while self._take_messages():
            try:
                self._advance()
            except Exception as error:  # noqa: BLE001 (whatever torch raises, nobody may hang)
                _log.exception("decoding failed; %d jobs get the error", len(self._jobs))
                self._fail(error)
        self._fail(RaloError("the inference engine was closed while requests were running"))

    def _take_messages(self) -> bool:
        """Handle what has arrived, waiting when there is nothing to decode; False: stop."""
        try:
            while True:
                message = self._messages.get(block=not self._jobs)
                if message is None:
                    return False
                message()
        except queue.Empty:
            return True

    def _enqueue(self, job: _Job, rows: Sequence[Row]) -> None:
        self._jobs.append(job)
        self._waiting.extend(rows)

    def _advance(self) -> None:
        if any(job.future.cancelled() for job in self._jobs):
            self._drop_cancelled()
        newcomers = self._newcomers()
        if newcomers:
            self._steps_since_admission = 0
            self._decoder.admit([self._waiting.popleft() for _ in range(newcomers)])
        if self._decoder.live:
            self._steps_since_admission += 1
            self._decoder.step()
        self._finish_jobs()

    def _newcomers(self) -> int:
        live = self._decoder.live
        ready = min(len(self._waiting), self._decoder.max_batch - live)
        due = ready * ADMIT_SHARE >= live or self._steps_since_admission >= ADMIT_STEPS
        return ready if due else 0

    def _finish_jobs(self) -> None:
        for job in [job for job in self._jobs if job.remaining == 0]:
            self._jobs.remove(job)
            if job.future.set_running_or_notify_cancel():
                job.future.set_result([c for c in job.completions if c is not None])

    def _drop_cancelled(self) -> None:
        def cancelled(row: Row) -> bool:
            return bool(row.owner.future.cancelled())

        self._decoder.drop(cancelled)
        self._waiting = deque(row for row in self._waiting if not cancelled(row))
        self._jobs = [job for job in self._jobs if not job.future.cancelled()]

    def _fail(self, error: Exception) -> None:
        jobs, self._jobs = self._jobs, []
        self._waiting.clear()
        self._decoder.clear()
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)


def _run_into(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:  # noqa: BLE001 (the caller awaits the future and gets it)
        future.set_exception(error)
