"""The sampler's loops: problems in, trees out, new weights in between, evaluations on demand.

Blocking calls run in threads; the event loop itself only waits.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs

from ralo_core import BuildContext, RaloError
from ralo_core.config import Config, GenerationSettings, PromptSettings, SamplerSettings
from ralo_core.errors import RunOver
from ralo_core.protocols import InferenceEngine
from ralo_worker.membership import Membership
from ralo_worker.prompting import Prompting, load_tokenizer
from ralo_worker.sampler.concurrency import ConcurrencyController
from ralo_worker.sampler.engine_shares import EngineShares
from ralo_worker.sampler.evaluations import Evaluations
from ralo_worker.sampler.grading import Graders
from ralo_worker.sampler.in_flight import InFlight
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline
from ralo_worker.sampler.usage_meter import UsageMeter
from ralo_worker.sampler.weight_sync import WAIT_SECONDS, WeightSync
from ralo_worker.weights.cache import WeightsCache

log = logging.getLogger(__name__)

SECTIONS = ("sampling", "reward", "engine")
_METER_SECONDS = 0.25
_THREADS = 16
_FINISHING_SECONDS = 10.0
"""What is sampled has so long to be scored and uploaded at the end. Schedulers give a process that
they end some 30 s, which must also suffice for what follows."""


class Sampler:
    """A joined sampler; `run` works until the run is over or `stop` is called."""

    pipeline: RolloutPipeline
    shares: EngineShares
    weights: WeightSync
    in_flight: InFlight
    evaluations: Evaluations

    def __init__(self, member: Membership) -> None:
        self.member = member
        self.client = member.client
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let `run` upload what is finished, return the other leases and end."""
        self.member.stopping.set()
        self._stopped.set()

    async def run(self) -> None:
        """Sample until the end; raises what made it impossible to go on."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        try:
            if await self._first_weights():
                await self._open()
                await self._sample()
        except RunOver as news:
            log.info("%s", news)
        except ConnectionError:
            if not self.member.stopping.is_set():
                raise
        finally:
            self.member.stopping.set()
            await self._leave()

    async def _sample(self) -> None:
        self.member.start_heartbeat()
        loops = (
            self.in_flight.feed(),
            self.weights.follow(),
            self.evaluations.run(),
            self._measure(),
        )
        try:
            await first_to_end(self.in_flight.broken, self._stopped.wait(), *loops)
        finally:
            await self.in_flight.wind_up(_FINISHING_SECONDS)
            await self.shares.engine.close()

    async def _first_weights(self) -> bool:
        """Wait for the first version; return False if `stop` was called before."""
        while await asyncio.to_thread(self.client.version, -1, WAIT_SECONDS) is None:
            if self.member.stopping.is_set():
                return False
            log.info("waiting for the first weights")
        return True

    async def _open(self) -> None:
        """Get the newest weights and build engine, algorithm and rewards."""
        cache = await asyncio.to_thread(
            WeightsCache, self.client, self.member.run, relays=self.member.relays
        )
        staged = await asyncio.to_thread(cache.newest, -1)
        if staged is None:  # there is one since `_first_weights`
            msg = "the server has no weights"
            raise RaloError(msg)
        context = BuildContext(role="sampler", model_dir=staged.directory)
        engine = self.member.config.build("engine", context)
        activity = self.member.activity
        activity.fetched(staged)
        activity.version = staged.version.number
        activity.devices = getattr(engine, "devices", 1)
        self.weights = WeightSync(
            client=self.client,
            cache=cache,
            engine=engine,
            newest=staged,
            clock=self.member.clock,
            activity=activity,
        )
        self._build(engine, context)

    def _build(self, engine: InferenceEngine, context: BuildContext) -> None:
        settings = self.member.config.section(SamplerSettings)
        self.shares = EngineShares(engine, settings.evaluation_share)
        self.pipeline = build_pipeline(self.member.config, context, self.shares.rollouts)
        self.in_flight = InFlight(
            client=self.client,
            pipeline=self.pipeline,
            shares=self.shares,
            concurrency=ConcurrencyController(engine.capacity, settings.problems_in_flight),
            activity=self.member.activity,
        )
        self.evaluations = Evaluations(
            client=self.client,
            pipeline=self.pipeline,
            shares=self.shares,
            weights=self.weights,
            graders=Graders(self.member.config, context, self.pipeline.rewards),
        )

    async def _measure(self) -> None:
        """Keep the engine's report in the activity up to date, until cancelled."""
        engine = self.shares.engine
        meter = UsageMeter(engine.capacity)
        while True:
            self.in_flight.record()
            stats = engine.stats()
            stats = attrs.evolve(stats, waiting=stats.waiting + self.shares.outside)
            self.member.activity.engine = meter.read(time.monotonic(), stats)
            await asyncio.sleep(_METER_SECONDS)

    async def _leave(self) -> None:
        """Deregister if the server can be reached: the leases of unfinished work are returned."""
        try:
            returned = await asyncio.to_thread(self.member.leave)
            log.info("left the run, %d leases were returned", returned)
        except (ConnectionError, RaloError) as error:
            log.warning("could not deregister, the leases will expire: %s", error)


def build_pipeline(
    config: Config, context: BuildContext, engine: InferenceEngine
) -> RolloutPipeline:
    """Build the components of the sampler around `engine`, for the model of `context`."""
    assert context.model_dir is not None
    tokenizer = load_tokenizer(context.model_dir)
    return RolloutPipeline(
        engine=engine,
        algorithm=config.build("sampling", context),
        rewards=config.build_pipeline("reward", context),
        weights=config.data["reward"]["weights"],
        prompting=Prompting(config.section(PromptSettings), tokenizer),
        tokenizer=tokenizer,
        generation=config.section(GenerationSettings),
        eos_token_ids=engine.eos_token_ids,
        max_length=engine.max_length,
        seed=config.seed,
    )


async def first_to_end(*loops: Awaitable[Any]) -> None:
    """Run `loops` until the first ends, cancel the others, raise what it raised."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
