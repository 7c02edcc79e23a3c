"""The trainer's loop: lease a batch, take the newest weights, compute the gradient, upload it.

    beside it     next batch fetched       newer weights brought      gradient before sent
    main thread   batch -> swap weights -> compute -> add up over ranks -> hand over to be sent

Weights change between batches only. Rank 0 speaks for the group: it leases, and its `Order` tells
the other ranks what to do next. All ranks run this loop.

Neighbours: `membership` joins the run, `together` computes, `uploading` sends, `batches_ahead` and
`weights_ahead` fetch.
"""

import logging
import time
from pathlib import Path

import attrs
import torch

from ralo_core import Batch, BuildContext, RaloError
from ralo_core.config import (
    LocalStepsSettings,
    LoraSettings,
    RegularisationSettings,
    TrainerSettings,
)
from ralo_core.errors import RunOver
from ralo_core.kinds import TRAINER, sections_of
from ralo_worker.membership import Membership
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.compute.local_steps import LocalSteps
from ralo_worker.trainer.compute.model import WithoutAdapter, open_model
from ralo_worker.trainer.compute.objective import open_objective
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.exchange.background_call import BackgroundCall
from ralo_worker.trainer.exchange.batch_prefetch import BatchPrefetch
from ralo_worker.trainer.exchange.phases import Phases
from ralo_worker.trainer.exchange.upload import Answered, Uploading
from ralo_worker.trainer.exchange.weight_prefetch import WeightPrefetch
from ralo_worker.trainer.parallel.data_parallel import DataParallel
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.parallel.sharding import shard
from ralo_worker.trainer.parallel.stop_check import CommonPace, Halted, StopCheck
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.loading import load_weights
from ralo_worker.weights.local_version import LocalVersion

log = logging.getLogger(__name__)

SECTIONS = sections_of(TRAINER)
_WAIT_SECONDS = 2.0


@attrs.frozen
class Order:
    """What rank 0 says is next: to end, or to compute `batch`, or nothing, where there is none."""

    over: bool = False
    batch: Batch | None = None


class Trainer:
    """A joined trainer, or a rank of one; `run` works until the run is over or the membership is
    stopping."""

    def __init__(self, member: Membership, group: Group | None = None) -> None:
        self.member, self.client = member, member.client
        self.group = group or Group()
        member.activity.devices = self.group.size
        self.phases = Phases(member.activity)
        self.settings = member.config.section(TrainerSettings)
        overlap = self.settings.overlap
        self.batches = BatchPrefetch(self.client, self.phases, member.stopping, overlap)
        self.sending: BackgroundCall[None] = BackgroundCall("ralo-send", overlap)
        self.version = -1
        self._seconds = 0.0

    def run(self) -> None:
        """Train until the end, then push what is finished and hand back the rest."""
        try:
            if not self.group.control.share(self._has_weights()):
                return
            self._open()
            if self.group.leads:
                self.member.start_heartbeat()
            while not (order := self.group.control.share(self._order())).over:
                self._take_new_weights()
                if order.batch is not None:
                    self._train(order.batch)
            self._sent()
        except RunOver as news:
            log.info("%s", news)
        finally:
            self._close()

    def _has_weights(self) -> bool:
        """Wait for the first weights; False if the trainer was told to stop before."""
        while self.group.leads and self.client.version(-1, _WAIT_SECONDS) is None:
            if self.member.stopping.is_set():
                return False
            log.info("waiting for the first weights")
        return True

    def _open(self) -> None:
        self.cache = WeightsCache(self.client, self.member.run, relays=self.member.relays)
        found = self._newest()
        self.policy = self._policy(found.directory)
        objective = open_objective(self.member.config, self.policy, self._reference(), self._pace())
        together = DataParallel(objective=objective, group=self.group, phases=self.phases)
        inner = self.member.config.section(LocalStepsSettings)
        self.computing = LocalSteps(together, inner) if inner.steps else together
        self.uploading = Uploading(
            client=self.client,
            codec=self.member.config.build("codec", BuildContext(role="trainer")),
            codec_name=self.member.config.chosen("codec"),
            group=self.group,
            phases=self.phases,
            stopping=self.member.stopping,
        )
        self.version = self.member.activity.version = found.version.number
        self.member.activity.fetched(found)
        self.weights = WeightPrefetch(
            self.cache, found, self.member.activity, self.member.stopping, self.settings.overlap
        )

    def _newest(self) -> LocalVersion:
        """Return the weights that rank 0 found newest."""
        found = self.cache.newest(-1) if self.group.leads else None
        version = self.group.control.share(found.version if found else None)
        assert version is not None  # there is one since the first weights came
        return found or self.cache.stage(version)

    def _reference(self) -> Policy | WithoutAdapter | None:
        """Return the policy that the run began with, where a KL to it is asked for."""
        if not self.member.config.section(RegularisationSettings).kl:
            return None
        if self.member.config.section(LoraSettings).rank:
            return WithoutAdapter(self.policy)
        return self._policy(self.cache.stage(self.client.manifest(0)).directory)

    def _policy(self, directory: Path) -> Policy:
        base_dtype = getattr(torch, self.member.config.section(LoraSettings).base_dtype)
        if self.settings.sharding == "none":
            return Policy(open_model(directory, base_dtype), self.settings)
        return shard(Policy(open_model(directory, base_dtype, "cpu"), self.settings), self.group)

    def _pace(self) -> StopCheck:
        if self.settings.sharding == "none":
            return StopCheck(self.member.stopping)
        return CommonPace(self.member.stopping, self.group.control)

    def _order(self) -> Order:
        """Return what is next; other ranks than 0 hear it from that one."""
        if not self.group.leads:
            return Order()
        try:
            if not self.member.stopping.is_set():
                return Order(batch=self.batches.next())
        except RunOver as news:
            log.info("%s", news)
        except ConnectionError:
            if not self.member.stopping.is_set():
                raise
        return Order(over=True)

    def _take_new_weights(self) -> None:
        """Swap to the newest version that all ranks have."""
        here = self.group.control.gather(self.weights.numbers())
        common = set.intersection(*here)
        if not common:
            return
        started, staged = time.monotonic(), self.weights.take(max(common))
        with self.phases("weights"):
            load_weights(self.policy.model, staged.directory)
        self.version = staged.version.number
        self.member.activity.activated(staged, time.monotonic() - started)

    def _train(self, batch: Batch) -> None:
        """Answer one lease: with a gradient, as empty, or by giving it back."""
        if self.group.leads:
            self.batches.prepare(self._seconds)
        started = time.monotonic()
        try:
            gradient = self.computing.gradient(batch.trees, self.version)
        except Halted:
            self._give_back(batch, "trainer stopped")
            self.member.stopping.set()
            return
        except BaseException:
            self._give_back(batch, "trainer failed")
            raise
        self._seconds = time.monotonic() - started
        self._answer(batch, gradient)

    def _answer(self, batch: Batch, gradient: Gradient | None) -> None:
        """Hand over what a batch came to, once the one before is sent."""
        if gradient is not None:
            tokens = sum(int(tree.response_lengths().sum()) for tree in batch.trees)
            self.member.activity.tokens += tokens
        self._sent()
        answered = Answered(batch_id=batch.id, version=self.version, gradient=gradient)
        with self.phases("upload"):  # without overlap it is sent here
            self.sending.start(self.uploading.upload, answered)

    def _sent(self) -> None:
        with self.phases("upload"):
            self.sending.result()

    def _give_back(self, batch: Batch, why: str) -> None:
        if self.group.leads:
            self.uploading.give_back(batch.id, why)

    def _close(self) -> None:
        """End the threads and say goodbye: what is held, a batch that lies here, goes back."""
        self.member.stopping.set()
        self.batches.close()
        self.sending.close()
        if self.group.leads:
            self._leave()
        self.group.close()

    def _leave(self) -> None:
        try:
            self.member.leave()
        except (ConnectionError, RaloError) as error:
            log.warning("could not say goodbye, leases end by themselves: %s", error)
