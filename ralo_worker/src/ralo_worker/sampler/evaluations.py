"""The sampler's part in evaluations: it leases shards, asks their version for responses, reports.

A shard is asked of one version exactly, so the weights are held while it is in flight. The
heartbeat renews the leases.
"""

import asyncio
import logging

import attrs

from ralo_core.client import Client
from ralo_core.errors import ServerError
from ralo_core.messages.evaluations import EvaluationShard
from ralo_worker.sampler.engine_shares import EngineShare, EngineShares
from ralo_worker.sampler.grading import Graders, graded
from ralo_worker.sampler.responding import respond
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline
from ralo_worker.sampler.weight_sync import WeightSync

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_ROOM_SECONDS = 0.05
_AT_ONCE = 2
"""Shards in flight: while the longest responses of one are decoded, the next fills the engine."""


@attrs.frozen(kw_only=True)
class Evaluations:
    """Evaluates shards on the engine behind `shares`."""

    client: Client
    pipeline: RolloutPipeline
    shares: EngineShares
    weights: WeightSync
    graders: Graders

    async def run(self) -> None:
        """Evaluate shards until cancelled."""
        while True:
            shard = await asyncio.to_thread(self.client.eval_job)
            if shard is None or not await self._stage(shard):
                await asyncio.sleep(_POLL_SECONDS)
                continue
            async with self.shares.evaluating() as share, self.weights.held_at(shard.version):
                await self._evaluate(share, shard)

    async def _stage(self, shard: EvaluationShard) -> bool:
        """Stage the shard's version, before rollouts make room and the weights are held.

        Returns the lease and False if that version is gone, as after a rollback.
        """
        if self.shares.engine.version == shard.version:
            return True
        try:
            await self.weights.stage(shard.version)
        except ServerError as error:
            if error.status != 404:
                raise
            log.warning("version %d cannot be evaluated any more: %s", shard.version, error)
            await asyncio.to_thread(self.client.release, [shard.lease_id], "returned")
            return False
        return True

    async def _evaluate(self, share: EngineShare, shard: EvaluationShard) -> None:
        """Evaluate `shard` and all other shards of its version: a swap of weights costs more than
        holding them a little longer."""
        tasks = [
            asyncio.create_task(self._one_by_one(share, shard.version, first))
            for first in (shard, *[None] * (_AT_ONCE - 1))
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _one_by_one(
        self, share: EngineShare, version: int, first: EvaluationShard | None
    ) -> None:
        shard = first or await self._another(share, version)
        while shard is not None:
            asked = await respond(self.pipeline, share, shard)
            grader = await asyncio.to_thread(self.graders.get, shard.response_settings.grader)
            items = await asyncio.to_thread(graded, self.pipeline, grader, shard, asked)
            try:
                await asyncio.to_thread(self.client.report_eval, shard, items)
            except ServerError as error:
                if error.status != 409:
                    raise
                log.warning("the responses to %s came too late: %s", shard.job_id, error)
            correct = sum(sum(item.correct) for item in items)
            count = len(items) * shard.response_settings.samples
            log.info(
                "%s, version %d: %d of %d responses are correct",
                shard.job_id, version, correct, count,
            )  # fmt: skip
            shard = await self._another(share, version)

    async def _another(self, share: EngineShare, version: int) -> EvaluationShard | None:
        """Lease the next shard of `version` once the engine has room for it: another sampler could
        begin it at once."""
        await asyncio.sleep(_ROOM_SECONDS)  # the first shard's requests are counted then
        while share.asked > share.capacity // 2:
            await asyncio.sleep(_ROOM_SECONDS)
        return await asyncio.to_thread(self.client.eval_job, version)
