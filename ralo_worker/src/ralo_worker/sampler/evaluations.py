"""The sampler's part in evaluations: it leases shards, answers them by their version, reports.

Neighbours: `runtime` runs `work` beside the rollouts, `weights_in_use` holds a version, `lanes`
keeps the engine shared, `answering` and `judging` do one shard. The heartbeat renews the leases.
"""

import asyncio
import logging

import attrs

from ralo_core.client import Client
from ralo_core.errors import ServerError
from ralo_core.messages.evaluations import EvaluationShard
from ralo_worker.sampler.engine_shares import EngineShare, EngineShares
from ralo_worker.sampler.grading import Graders, judged
from ralo_worker.sampler.responding import answers
from ralo_worker.sampler.rollout_pipeline import Rollouts
from ralo_worker.sampler.weight_sync import WeightSync

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_ROOM_SECONDS = 0.05
_AT_ONCE = 2
"""Shards under way: when the longest answers of one are left, those of the next fill the engine."""


@attrs.frozen(kw_only=True)
class Evaluations:
    """Answers evaluation jobs on the engine behind `lanes`."""

    client: Client
    rollouts: Rollouts
    lanes: EngineShares
    weights: WeightSync
    judges: Graders

    async def work(self) -> None:
        """Answer jobs, for ever."""
        while True:
            job = await asyncio.to_thread(self.client.eval_job)
            if job is None or not await self._is_there(job):
                await asyncio.sleep(_POLL_SECONDS)
                continue
            async with self.lanes.evaluating() as lane, self.weights.held_at(job.version):
                await self._answer(lane, job)

    async def _is_there(self, job: EvaluationShard) -> bool:
        """Bring the job's version here before rollouts make room and weights wait; give the job
        back if that version is gone, as after a rollback."""
        if self.lanes.engine.version == job.version:
            return True
        try:
            await self.weights.bring(job.version)
        except ServerError as error:
            if error.status != 404:
                raise
            log.warning("version %d cannot be evaluated any more: %s", job.version, error)
            await asyncio.to_thread(self.client.release, [job.lease_id], "returned")
            return False
        return True

    async def _answer(self, lane: EngineShare, job: EvaluationShard) -> None:
        """Answer `job` and what else there is of its version: a swap of weights costs more than
        holding them a little longer."""
        tasks = [
            asyncio.create_task(self._one_by_one(lane, job.version, first))
            for first in (job, *[None] * (_AT_ONCE - 1))
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _one_by_one(
        self, lane: EngineShare, version: int, first: EvaluationShard | None
    ) -> None:
        job = first or await self._another(lane, version)
        while job is not None:
            asked = await answers(self.rollouts, lane, job)
            judge = await asyncio.to_thread(self.judges.get, job.answering.judge)
            items = await asyncio.to_thread(judged, self.rollouts, judge, job, asked)
            try:
                await asyncio.to_thread(self.client.report_eval, job, items)
            except ServerError as error:
                if error.status != 409:
                    raise
                log.warning("answers to %s came too late: %s", job.job_id, error)
            correct = sum(sum(item.correct) for item in items)
            count = len(items) * job.answering.samples
            log.info(
                "%s, version %d: %d of %d answers are correct",
                job.job_id, version, correct, count,
            )  # fmt: skip
            job = await self._another(lane, version)

    async def _another(self, lane: EngineShare, version: int) -> EvaluationShard | None:
        """Lease the next job of `version` once the engine has room: a sampler must not keep from
        others what it cannot begin."""
        await asyncio.sleep(_ROOM_SECONDS)  # the first job's requests are counted then
        while lane.asked > lane.capacity // 2:
            await asyncio.sleep(_ROOM_SECONDS)
        return await asyncio.to_thread(self.client.eval_job, version)
