"""A gradient's last way in the trainer: encoded, sent, and what follows where it is refused.

Every rank encodes and sends the tensors that it owns; rank 0 declares and finalizes.
"""

import logging
import math
import threading
import uuid
from collections.abc import Mapping
from typing import Any

import attrs
import numpy.typing as npt

from ralo_core.client import GRADIENT_REFUSED, Client, GradientBody, WholeBody
from ralo_core.errors import RaloError, RunOver, ServerError
from ralo_core.protocols import GradientCodec
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.exchange.group_body import GroupBody
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.phases import Phases

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True, eq=False)
class GradientUploader:
    """Sends gradients of `group`, encoded by `codec`, whose name the run knows as `codec_name`."""

    client: Client
    codec: GradientCodec
    codec_name: str
    group: Group
    phases: Phases
    stopping: threading.Event

    def upload(self, batch_id: str, version: int, gradient: Gradient | None) -> None:
        """Send the `gradient` of a batch, computed at weights of `version`; None if the batch has
        none. Every rank must call it.

        A gradient that the orchestrator refuses is logged, no error. At the end of the run, or once
        `stopping` is set and the orchestrator does not answer, it is given up. Raises what else
        keeps rank 0 from sending, after the batch was given back.
        """
        try:
            if gradient is not None:
                self._send(batch_id, version, gradient)
            elif self.group.leads:
                self.client.release([batch_id], "empty", "every advantage is zero")
        except RunOver as news:
            log.info("%s", news)
            self.stopping.set()
        except ConnectionError as error:
            if not self.stopping.is_set():
                raise
            log.warning("gave up on the gradient of batch %s: %s", batch_id, error)
        except BaseException:
            if self.group.leads:
                self.give_back(batch_id, "trainer failed")
            raise

    def give_back(self, batch_id: str, why: str) -> None:
        """Let another trainer have a batch, at once instead of when its lease expires."""
        try:
            self.client.release([batch_id], "returned", why)
        except (ConnectionError, RaloError) as error:
            log.warning("could not hand batch %s back: %s", batch_id, error)

    def _send(self, batch_id: str, version: int, gradient: Gradient) -> None:
        with self.phases("encode"):
            encoded = self._encoded(gradient)
        header, transport = {"codec": self.codec_name}, self.client.transport
        with self.phases("send"):
            if self.group.size == 1:
                self._deliver(WholeBody(header, encoded, transport), batch_id, version, gradient)
                return
            body = GroupBody(header, encoded, self.group.uploads, transport)
            if not self.group.leads:
                body.follow()
                return
            try:
                self._deliver(body, batch_id, version, gradient)
            finally:
                body.done()  # else the other ranks would wait without end

    def _encoded(self, gradient: Gradient) -> dict[str, npt.NDArray[Any]]:
        return {
            f"{name}{suffix}": array
            for name, value in gradient.tensors.items()
            for suffix, array in self.codec.encode(name, value.numpy()).items()
        }

    def _deliver(self, body: GradientBody, batch_id: str, version: int, gradient: Gradient) -> None:
        try:
            self.client.send_gradient(
                body,
                upload_id=uuid.uuid4().hex,
                batch_id=batch_id,
                base_version=version,
                weight=gradient.weight,
                codec=self.codec_name,
                metrics=_finite(gradient.metrics, batch_id),
            )
        except ServerError as error:
            if error.problem.get("type") == GRADIENT_REFUSED:
                log.error("batch %s is set aside, its gradient was refused: %s", batch_id, error)
                self.client.release([batch_id], "failed", str(error))
            elif error.status == 409:
                log.warning("the gradient of batch %s came too late: %s", batch_id, error)
            else:
                raise


def _finite(metrics: Mapping[str, float], batch_id: str) -> dict[str, float]:
    """Return the metrics that JSON can carry. The others do not end the upload: the server accepts
    or refuses a gradient by its values alone."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        log.warning("batch %s: %s not finite, left out of its metrics", batch_id, ", ".join(bad))
    return {name: value for name, value in metrics.items() if name not in bad}
