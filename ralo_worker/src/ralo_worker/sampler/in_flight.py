"""The problems in flight: leased when the engine has room, sampled, scored, uploaded."""

import asyncio
import contextlib
import logging
import time

import attrs

from ralo_core import RaloError, RolloutTree
from ralo_core.client import Client, LeasedProblem
from ralo_core.errors import RunOver, ServerError
from ralo_worker.membership import Activity, Timer
from ralo_worker.sampler.concurrency import ConcurrencyController, Load
from ralo_worker.sampler.engine_shares import EngineShares
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline

log = logging.getLogger(__name__)

_WAIT_SECONDS = 2.0
_MAX_FAILURES = 5


@attrs.define(kw_only=True, eq=False)
class InFlight:
    """Problems in flight on the engine behind `shares`; made inside a running event loop."""

    client: Client
    pipeline: RolloutPipeline
    shares: EngineShares
    concurrency: ConcurrencyController
    activity: Activity
    broken: asyncio.Future[None] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )
    """Gets a `RaloError` when too many problems in a row have failed."""
    _tasks: dict[str, asyncio.Task[None]] = attrs.field(factory=dict, init=False)
    _sampled: set[str] = attrs.field(factory=set, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _moved: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _load: Load = attrs.field(factory=lambda: Load(sampling=0, finishing=0, asked=0), init=False)
    _evaluating: float = attrs.field(default=0.0, init=False)
    _since: float = attrs.field(factory=time.monotonic, init=False)
    _timer: Timer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._timer = Timer(self.activity)
        self.shares.on_change = self.record

    async def feed(self) -> None:
        """Lease problems whenever the engine has room, until cancelled."""
        while True:
            self.record()
            wanted = self.concurrency.wanted(self._load)
            if wanted == 0:
                self._moved.clear()
                await self._moved.wait()
                continue
            leased = await asyncio.to_thread(self.client.problems, wanted, _WAIT_SECONDS)
            for item in leased or ():
                self._tasks[item.lease_id] = asyncio.create_task(self._do(item))
            await asyncio.sleep(0)  # they begin, so that their requests are counted

    async def wind_up(self, seconds: float) -> None:
        """Cancel the problems that are still being sampled; the others have `seconds` to be scored
        and uploaded."""
        finishing = [task for lease, task in self._tasks.items() if lease in self._sampled]
        for lease, task in self._tasks.items():
            if lease not in self._sampled:
                task.cancel()
        if finishing:
            _, late = await asyncio.wait(finishing, timeout=seconds)
            for task in late:
                task.cancel()

    def record(self) -> None:
        """Record the time since the last call under the load of that time.

        Whatever changes the load calls it; `Sampler` also does, several times a second, so that the
        activity is right while nothing changes.
        """
        before, now = self._load, time.monotonic()
        self.concurrency.passed(now - self._since, before)
        self._timer.spent(self._busy(before), self._evaluating)
        self.activity.decoded_tokens = self.shares.rollouts.decoded
        self.activity.evaluated_tokens = self.shares.evaluation.decoded
        self._since, self._evaluating = now, self.shares.evaluation_part
        self._load = Load(
            sampling=len(self._tasks) - len(self._sampled),
            finishing=len(self._sampled),
            asked=self.shares.rollouts.asked,
            others=self.shares.evaluation.inside,
        )
        self._moved.set()

    def _busy(self, load: Load) -> float:
        """Return the part of the places for problems that is taken; an empty one is waiting."""
        taken = load.sampling + load.finishing
        return taken / max(1, taken + self.concurrency.wanted(load))

    async def _do(self, leased: LeasedProblem) -> None:
        """Sample, score and upload one problem; a failure is reported and costs no other one."""
        try:
            grown = await self._sample(leased)
            tree = await self.pipeline.score(leased.problem, grown, leased.lease_id)
            await asyncio.to_thread(self.client.upload_tree, tree)
            self.activity.tokens += len(tree.tokens)
            self._failures = 0
        except (RunOver, ConnectionError):
            return  # the feeding loop learns the same and ends
        except ServerError as error:
            if error.status != 409:
                await self._failed(leased, error)
                return
            log.warning("the lease of problem %s has ended: %s", leased.problem.id, error)
        except Exception as error:  # noqa: BLE001 (algorithms and rewards are plugins)
            await self._failed(leased, error)
        finally:
            self._tasks.pop(leased.lease_id, None)
            self._sampled.discard(leased.lease_id)
            self.record()

    async def _sample(self, leased: LeasedProblem) -> RolloutTree:
        self.record()
        try:
            return await self.pipeline.sample(leased.problem)
        finally:
            self._sampled.add(leased.lease_id)
            self.record()
            self.concurrency.finished(self._load)

    async def _failed(self, leased: LeasedProblem, error: Exception) -> None:
        self._failures += 1
        log.error("problem %s failed", leased.problem.id, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        with contextlib.suppress(RunOver, ConnectionError):  # the feeding loop learns the same
            await asyncio.to_thread(self.client.release, [leased.lease_id], "failed", reason)
        if self._failures >= _MAX_FAILURES and not self.broken.done():
            msg = f"{_MAX_FAILURES} problems in a row failed; the last one: {reason}"
            self.broken.set_exception(RaloError(msg))
