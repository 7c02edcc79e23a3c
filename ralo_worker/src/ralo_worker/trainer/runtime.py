"""The trainer's loop: lease a batch, take the newest weights, compute the gradient, upload it.

    beside it     next batch fetched       newer weights brought      gradient before sent
    main thread   batch -> swap weights -> compute -> add up over ranks -> hand over to be sent

Weights change between batches only. Rank 0 speaks for the group: it leases, and its `Order` tells
the other ranks what to do next. All ranks run this loop.
"""

import logging
import time
from pathlib import Path

import attrs
import torch

from ralo_core import Batch, BuildContext
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
from ralo_worker.trainer.compute.model import WithoutAdapter, open_model
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.exchange.background_call import BackgroundCall
from ralo_worker.trainer.exchange.batch_prefetch import BatchPrefetch
from ralo_worker.trainer.exchange.upload import GradientUploader
from ralo_worker.trainer.exchange.weight_prefetch import WeightPrefetch
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.parallel.local_steps import LocalSteps
from ralo_worker.trainer.parallel.sharding import shard
from ralo_worker.trainer.parallel.stop_check import CommonStopCheck, Halted, StopCheck
from ralo_worker.trainer.phases import Phases
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.loading import load_weights
from ralo_worker.weights.local_version import LocalVersion

log = logging.getLogger(__name__)

SECTIONS = sections_of(TRAINER)


@attrs.frozen
class Order:
    """What rank 0 has the ranks do next: end if `over`, else compute `batch`. Without a batch the
    loop only looks for new weights, and asks again."""

    over: bool = False
    batch: Batch | None = None


class Trainer:
    """A trainer that has joined its run, or a rank of one. `run` works until the run is over, or
    until the membership's `stopping` is set."""

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
            has_weights = not self.group.leads or self.member.wait_for_first_weights()
            if not self.group.control.share(has_weights):
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

    def _open(self) -> None:
        self.cache = WeightsCache(self.client, self.member.run, relays=self.member.relays)
        found = self._newest()
        self.policy = self._policy(found.directory)
        parallel = open_data_parallel(
            self.member.config, self.policy, self._reference(),
            group=self.group, stop=self._stop_check(), phases=self.phases,
        )  # fmt: skip
        inner = self.member.config.section(LocalStepsSettings)
        self.gradients = LocalSteps(parallel, inner) if inner.steps else parallel
        self.uploader = GradientUploader(
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

    def _stop_check(self) -> StopCheck:
        if self.settings.sharding == "none":
            return StopCheck(self.member.stopping)
        return CommonStopCheck(self.member.stopping, self.group.control)

    def _order(self) -> Order:
        """Return what is next on rank 0; on the others anything, for rank 0's is shared."""
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
        """Compute one batch: its lease ends with a gradient, as empty, or by being given back."""
        if self.group.leads:
            self.batches.prepare(self._seconds)
        started = time.monotonic()
        try:
            gradient = self.gradients.gradient(batch.trees, self.version)
        except Halted:
            self._give_back(batch, "trainer stopped")
            self.member.stopping.set()
            return
        except BaseException:
            self._give_back(batch, "trainer failed")
            raise
        self._seconds = time.monotonic() - started
        self._upload(batch, gradient)

    def _upload(self, batch: Batch, gradient: Gradient | None) -> None:
        """Begin to send the gradient of a batch, once the one before is sent."""
        if gradient is not None:
            tokens = sum(int(tree.response_lengths().sum()) for tree in batch.trees)
            self.member.activity.tokens += tokens
        self._sent()
        with self.phases("upload"):  # without overlap it is sent here
            self.sending.start(self.uploader.upload, batch.id, self.version, gradient)

    def _sent(self) -> None:
        with self.phases("upload"):
            self.sending.result()

    def _give_back(self, batch: Batch, why: str) -> None:
        if self.group.leads:
            self.uploader.give_back(batch.id, why)

    def _close(self) -> None:
        """End the threads and deregister: the server takes back what is held, such as a batch that
        was fetched ahead."""
        self.member.stopping.set()
        self.batches.close()
        self.sending.close()
        if self.group.leads:
            self.member.leave()
        self.group.close()
