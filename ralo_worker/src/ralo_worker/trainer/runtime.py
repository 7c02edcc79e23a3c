"""The trainer's loop: lease a batch, take the newest weights, compute the gradient, upload it.

Neighbours: `membership` joins the run, `objective` computes, `weights.cache` fetches versions.
Weights change between batches only.
"""

import logging
import math
import time
import uuid
from collections.abc import Mapping
from typing import Any

import torch

from ralo_core import Batch, BuildContext, RaloError
from ralo_core.client import GRADIENT_REFUSED
from ralo_core.config import LoraSettings, RegularisationSettings
from ralo_core.errors import RunOver, ServerError
from ralo_worker.engines.weights import load_weights
from ralo_worker.membership import Membership, Timer
from ralo_worker.trainer.gradient import Gradient
from ralo_worker.trainer.model import WithoutAdapter, open_model
from ralo_worker.trainer.objective import open_objective
from ralo_worker.weights.cache import WeightsCache

log = logging.getLogger(__name__)

SECTIONS = ("advantage", "loss", "correction", "codec")
_WAIT_SECONDS = 2.0


class Trainer:
    """A joined trainer; `run` works until the run is over or the membership is stopping."""

    def __init__(self, member: Membership) -> None:
        self.member = member
        self.client = member.client
        self.codec = member.config.build("codec", BuildContext(role="trainer"))
        self.timer = Timer(member.activity)
        self.version = -1

    def run(self) -> None:
        """Train until the end."""
        try:
            self._open()
            self.member.start_heartbeat()
            while not self.member.stopping.is_set():
                self.timer.spent(1.0)
                batch = self.client.batch(_WAIT_SECONDS)
                self.timer.spent(0.0)
                if batch is not None:
                    self._train(batch)
        except RunOver as news:
            log.info("%s", news)
        except ConnectionError:
            if not self.member.stopping.is_set():
                raise
        finally:
            self.member.stopping.set()

    def _open(self) -> None:
        while self.client.version(-1, _WAIT_SECONDS) is None:
            log.info("waiting for the first weights")
        self.cache = WeightsCache(self.client, self.member.run, relays=self.member.relays)
        found = self.cache.newest(-1)
        assert found is not None  # there is one since the loop above
        lora = self.member.config.section(LoraSettings)
        self.model = open_model(found.directory, getattr(torch, lora.base_dtype))
        self.objective = open_objective(self.member.config, self.model, self._reference())
        self.version = self.member.activity.version = found.version.number
        self.member.activity.fetched(found)

    def _reference(self) -> Any | None:
        """Return the model that the run began with, where a KL to it is asked for."""
        if not self.member.config.section(RegularisationSettings).kl:
            return None
        if self.member.config.section(LoraSettings).rank:
            return WithoutAdapter(self.model)
        return open_model(self.cache.stage(self.client.manifest(0)).directory)

    def _train(self, batch: Batch) -> None:
        """Answer one lease: with a gradient, as empty, or by giving it back."""
        try:
            self._take_new_weights()
            gradient = self.objective.gradient(batch.trees, self.version)
            self.member.activity.tokens += sum(
                int(tree.response_lengths().sum()) for tree in batch.trees if gradient
            )
            if gradient is None:
                self.client.release([batch.id], "empty", "every advantage is zero")
            else:
                self._upload(batch, gradient)
        except BaseException:
            # The trees go back at once instead of when the lease expires.
            self._give_back(batch)
            raise

    def _take_new_weights(self) -> None:
        found = self.cache.newest(self.version)
        if found is not None:
            started = time.monotonic()
            load_weights(self.model, found.directory)
            self.version = found.version.number
            self.member.activity.fetched(found)
            self.member.activity.activated(found, time.monotonic() - started)

    def _upload(self, batch: Batch, gradient: Gradient) -> None:
        tensors = {
            f"{name}{suffix}": array
            for name, value in gradient.tensors.items()
            for suffix, array in self.codec.encode(name, value.numpy()).items()
        }
        try:
            self.client.upload_gradient(
                tensors,
                upload_id=uuid.uuid4().hex,
                batch_id=batch.id,
                base_version=self.version,
                weight=gradient.weight,
                codec=self.member.config.chosen("codec"),
                metrics=_finite(gradient.metrics, batch),
            )
        except ServerError as error:
            if error.problem.get("type") == GRADIENT_REFUSED:
                log.error("batch %s is set aside, its gradient was refused: %s", batch.id, error)
                self.client.release([batch.id], "failed", str(error))
            elif error.status == 409:
                log.warning("the gradient of batch %s came too late: %s", batch.id, error)
            else:
                raise

    def _give_back(self, batch: Batch) -> None:
        try:
            self.client.release([batch.id], "returned", "trainer stopped")
        except (ConnectionError, RaloError) as error:
            log.warning("could not hand batch %s back: %s", batch.id, error)


def _finite(metrics: Mapping[str, float], batch: Batch) -> dict[str, float]:
    """Return the metrics that JSON has a word for; the server judges the gradient by its values."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        log.warning("batch %s: %s not finite, left out of its metrics", batch.id, ", ".join(bad))
    return {name: value for name, value in metrics.items() if name not in bad}
