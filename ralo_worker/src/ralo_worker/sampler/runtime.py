"""The sampler's loops: problems in, trees out, new weights in between, evaluations on demand.

Neighbours: `membership` joins the run, `rollouts` does one problem, `weights.cache` fetches
versions. Blocking calls run in threads; the event loop only waits.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ralo_core import BuildContext, RaloError
from ralo_core.client import EvalJob, LeasedProblem
from ralo_core.config import GenerationSettings, PromptSettings, SamplerSettings
from ralo_core.errors import RunOver, ServerError
from ralo_worker.membership import Membership, Timer
from ralo_worker.prompting import Prompting, load_tokenizer
from ralo_worker.sampler.evaluation import evaluate
from ralo_worker.sampler.rollouts import Rollouts
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.staged import Staged

log = logging.getLogger(__name__)

SECTIONS = ("sampling", "reward", "engine")
_WAIT_SECONDS = 2.0
_EVALUATION_POLL_SECONDS = 0.5
_THREADS = 16
_MAX_FAILURES = 5


class Sampler:
    """A joined sampler; `run` works until the run is over or `stop` is called."""

    def __init__(self, member: Membership) -> None:
        self.member = member
        self.client = member.client
        self.settings = member.config.section(SamplerSettings)
        self.timer = Timer(member.activity)
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._slot_freed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._weights = asyncio.Lock()
        self._evaluating: list[str] = []
        self._failures = 0
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """Hand back what is unfinished and end."""
        self.member.stopping.set()
        self._stopped.set()

    async def run(self) -> None:
        """Sample until the end; raises what made it impossible to go on."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        await self._open()
        self.member.start_heartbeat()
        loops = (self._feed(), self._follow_weights(), self._evaluate(), self._stopped.wait())
        try:
            await first_to_end(self._broken, *loops)
        except RunOver as news:
            log.info("%s", news)
        finally:
            await self._hand_back()
            await self.rollouts.engine.close()
            self.member.stopping.set()

    async def _open(self) -> None:
        """Get the newest weights and build engine, algorithm and rewards."""
        while await asyncio.to_thread(self.client.version, -1, _WAIT_SECONDS) is None:
            log.info("waiting for the first weights")
        self.cache = await asyncio.to_thread(
            WeightsCache, self.client, self.member.run, relays=self.member.relays
        )
        staged = await self._newest()
        self.rollouts = build_rollouts(self.member, staged.directory)
        self.member.activity.version = staged.version.number

    async def _feed(self) -> None:
        """Keep `problems_in_flight` problems under way."""
        while True:
            free = self.settings.problems_in_flight - len(self._in_flight)
            if free == 0:
                self._slot_freed.clear()
                await self._slot_freed.wait()
                continue
            leased = await asyncio.to_thread(self.client.problems, free, _WAIT_SECONDS)
            self._book_time()
            for item in leased or ():
                self._in_flight[item.lease_id] = asyncio.create_task(self._work(item))

    def _book_time(self) -> None:
        """Book the time since the last change of what is in flight; empty places are waiting."""
        self.timer.spent(len(self._in_flight) / self.settings.problems_in_flight)

    async def _work(self, leased: LeasedProblem) -> None:
        """Do one problem; a failure is reported and costs this problem only."""
        try:
            tree = await self.rollouts.make(leased.problem, leased.lease_id)
            await asyncio.to_thread(self.client.upload_tree, tree)
            self.member.activity.tokens += len(tree.tokens)
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
            self._book_time()
            self._in_flight.pop(leased.lease_id, None)
            self._slot_freed.set()

    async def _failed(self, leased: LeasedProblem, error: Exception) -> None:
        self._failures += 1
        log.error("problem %s failed", leased.problem.id, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        with contextlib.suppress(RunOver, ConnectionError):  # the feeding loop learns the same
            await asyncio.to_thread(self.client.release, [leased.lease_id], "failed", reason)
        if self._failures >= _MAX_FAILURES and not self._broken.done():
            msg = f"{_MAX_FAILURES} problems in a row failed; the last one: {reason}"
            self._broken.set_exception(RaloError(msg))

    async def _follow_weights(self) -> None:
        """Swap new versions in between decoding steps."""
        while True:
            current = self.member.activity.version
            found = await asyncio.to_thread(self.cache.newest, current, _WAIT_SECONDS)
            if found is None:
                continue
            async with self._weights:
                if found.version.number > self.member.activity.version:
                    await self._load(found)  # else an evaluation came between

    async def _evaluate(self) -> None:
        """Answer evaluation jobs."""
        while True:
            job = await asyncio.to_thread(self.client.eval_job)
            if job is None:
                await asyncio.sleep(_EVALUATION_POLL_SECONDS)
                continue
            self._evaluating = [job.lease_id]
            async with self._weights:
                await self._do_job(job)
            self._evaluating = []

    async def _do_job(self, job: EvalJob) -> None:
        current = self.rollouts.engine.version
        if current != job.version:
            version = await asyncio.to_thread(self.client.manifest, job.version)
            await self._load(await asyncio.to_thread(self.cache.stage, version))
        most = self.rollouts.algorithm.max_response_tokens
        correct, tokens = await evaluate(self.rollouts, job.problems, most)
        if current > job.version:
            await self._load(await self._newest())
        report = {"correct": correct, "tokens": tokens}
        try:
            await asyncio.to_thread(self.client.report_eval, job, report)
        except ServerError as error:
            if error.status != 409:
                raise
            log.warning("evaluation of version %d came too late: %s", job.version, error)
        accuracy = sum(correct) / len(correct)
        log.info("held-out accuracy of version %d: %.1f %%", job.version, 100 * accuracy)

    async def _newest(self) -> Staged:
        found = await asyncio.to_thread(self.cache.newest, -1)
        if found is None:  # there is one as soon as a run has begun
            msg = "the server has no weights"
            raise RaloError(msg)
        return found

    async def _load(self, staged: Staged) -> None:
        await self.rollouts.engine.load_weights(staged.version.number, staged.directory)
        self.member.activity.version = staged.version.number

    async def _hand_back(self) -> None:
        """Give unfinished work back, as far as the server can still be reached."""
        leases = [*self._in_flight, *self._evaluating]
        for task in list(self._in_flight.values()):
            task.cancel()
        if not leases:
            return
        try:
            await asyncio.to_thread(self.client.release, leases, "returned", "sampler stopped")
            log.info("handed %d leases back", len(leases))
        except (ConnectionError, RaloError) as error:
            log.warning("could not hand %d leases back: %s", len(leases), error)


def build_rollouts(member: Membership, directory: Path) -> Rollouts:
    """Build the components of the sampler on the model in `directory`."""
    config = member.config
    context = BuildContext(role="sampler", model_dir=directory)
    tokenizer = load_tokenizer(directory)
    engine = config.build("engine", context)
    return Rollouts(
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
