"""The problems under way: leased when the engine has room for them, made into trees, handed in.

Neighbours: `sizing` says how many to lease, `lanes` how many requests they have, `rollouts` makes
one tree, `runtime` runs `feed` beside its other loops.
"""

import asyncio
import contextlib
import logging
import time

import attrs

from ralo_core import RaloError, RolloutTree
from ralo_core.client import Client
from ralo_core.errors import RunOver, ServerError
from ralo_core.messages.problems import LeasedProblem
from ralo_worker.membership import Activity, Timer
from ralo_worker.sampler.concurrency import ConcurrencyController, Load
from ralo_worker.sampler.engine_shares import EngineShares
from ralo_worker.sampler.rollout_pipeline import Rollouts

log = logging.getLogger(__name__)

_WAIT_SECONDS = 2.0
_MAX_FAILURES = 5


@attrs.define(kw_only=True, eq=False)
class Work:
    """Problems under way on the engine behind `lanes`; made inside a running event loop."""

    client: Client
    rollouts: Rollouts
    lanes: EngineShares
    sizing: ConcurrencyController
    activity: Activity
    broken: asyncio.Future[None] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )
    """Gets a `RaloError` when too many problems in a row have failed."""
    _in_flight: dict[str, asyncio.Task[None]] = attrs.field(factory=dict, init=False)
    _sampled: set[str] = attrs.field(factory=set, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _moved: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _load: Load = attrs.field(factory=lambda: Load(sampling=0, finishing=0, asked=0), init=False)
    _evaluating: float = attrs.field(default=0.0, init=False)
    _since: float = attrs.field(factory=time.monotonic, init=False)
    _timer: Timer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._timer = Timer(self.activity)
        self.lanes.on_change = self._changed

    async def feed(self) -> None:
        """Lease problems whenever the engine has room, for ever."""
        while True:
            self._changed()
            wanted = self.sizing.wanted(self._load)
            if wanted == 0:
                self._moved.clear()
                await self._moved.wait()
                continue
            leased = await asyncio.to_thread(self.client.problems, wanted, _WAIT_SECONDS)
            for item in leased or ():
                self._in_flight[item.lease_id] = asyncio.create_task(self._work(item))
            await asyncio.sleep(0)  # they begin, so that their requests are counted

    async def wind_up(self, seconds: float) -> None:
        """Give up what is still being sampled; what is sampled has `seconds` to be scored and
        handed in."""
        finishing = [task for lease, task in self._in_flight.items() if lease in self._sampled]
        for lease, task in self._in_flight.items():
            if lease not in self._sampled:
                task.cancel()
        if finishing:
            _, late = await asyncio.wait(finishing, timeout=seconds)
            for task in late:
                task.cancel()

    def book(self) -> None:
        """Bring the activity up to date, where nothing has changed for long."""
        self._changed()

    def _changed(self) -> None:
        """Book the time since the last change under the load it was spent with."""
        before, now = self._load, time.monotonic()
        self.sizing.passed(now - self._since, before)
        self._timer.spent(self._busy(before), self._evaluating)
        self.activity.decoded_tokens = self.lanes.rollouts.decoded
        self.activity.evaluated_tokens = self.lanes.evaluation.decoded
        self._since, self._evaluating = now, self.lanes.evaluation_part
        self._load = Load(
            sampling=len(self._in_flight) - len(self._sampled),
            finishing=len(self._sampled),
            asked=self.lanes.rollouts.asked,
            others=self.lanes.evaluation.inside,
        )
        self._moved.set()

    def _busy(self, load: Load) -> float:
        """Return the share of the places for problems that are taken: empty ones are waiting."""
        taken = load.sampling + load.finishing
        return taken / max(1, taken + self.sizing.wanted(load))

    async def _work(self, leased: LeasedProblem) -> None:
        """Do one problem; a failure is reported and costs this problem only."""
        try:
            grown = await self._sample(leased)
            tree = await self.rollouts.score(leased.problem, grown, leased.lease_id)
            await asyncio.to_thread(self.client.upload_tree, tree)
            self.activity.tokens += len(tree.tokens)
            self._failures = 0
        except (RunOver, ConnectionError):
            return  # the feeding loop learns the same and ends
        except ServerError as error:
            if error.status != 409:
                await self._failed(leased, error)
                return
            log.warning("problem %s was given to somebody else: %s", leased.problem.id, error)
        except Exception as error:  # noqa: BLE001 (algorithms and rewards are plugins)
            await self._failed(leased, error)
        finally:
            self._in_flight.pop(leased.lease_id, None)
            self._sampled.discard(leased.lease_id)
            self._changed()

    async def _sample(self, leased: LeasedProblem) -> RolloutTree:
        self._changed()
        try:
            return await self.rollouts.sample(leased.problem)
        finally:
            self._sampled.add(leased.lease_id)
            self._changed()
            self.sizing.finished(self._load)

    async def _failed(self, leased: LeasedProblem, error: Exception) -> None:
        self._failures += 1
        log.error("problem %s failed", leased.problem.id, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        with contextlib.suppress(RunOver, ConnectionError):  # the feeding loop learns the same
            await asyncio.to_thread(self.client.release, [leased.lease_id], "failed", reason)
        if self._failures >= _MAX_FAILURES and not self.broken.done():
            msg = f"{_MAX_FAILURES} problems in a row failed; the last one: {reason}"
            self.broken.set_exception(RaloError(msg))
