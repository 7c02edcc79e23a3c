"""From a gradient to the orchestrator's word on it: encode, send, and what a refusal means.

On every rank: each encodes and sends the tensors that it owns, rank 0 declares and finalizes.
Neighbours: `runtime` calls it beside the computation of the next batch; `group_body` is how the
ranks send one body, the client how it is sent.
"""

import logging
import math
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy.typing as npt

from ralo_core.client import GRADIENT_REFUSED, Client
from ralo_core.errors import RaloError, RunOver, ServerError
from ralo_core.protocols import GradientCodec
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.exchange.group_body import GroupBody
from ralo_worker.trainer.exchange.phases import Phases
from ralo_worker.trainer.parallel.group import Group

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Answered:
    """What a batch came to at weights of `version`: a gradient, None if nothing has one."""

    batch_id: str
    version: int
    gradient: Gradient | None


@attrs.frozen(kw_only=True, eq=False)
class Uploading:
    """Sends gradients of `group`, encoded by `codec`, whose name the run knows as `codec_name`."""

    client: Client
    codec: GradientCodec
    codec_name: str
    group: Group
    phases: Phases
    stopping: threading.Event

    def upload(self, answered: Answered) -> None:
        """Answer a batch; what the orchestrator does not want of it is logged, no error.

        At the end of the run, or once `stopping` is set and nobody answers, it is given up; else
        raises what keeps rank 0 from sending. The batch is given back then.
        """
        gradient = answered.gradient
        if gradient is None:
            self._with_care(answered, lambda: self._release(answered))
            return
        with self.phases("encode"):
            encoded = self._encoded(gradient)
        with self.phases("send"):
            body = GroupBody(
                {"codec": self.codec_name}, encoded, self.group.uploads, self.client.transport
            )
            if self.group.leads:
                try:
                    self._with_care(answered, lambda: self._send(answered, gradient, body))
                finally:
                    body.done()
            else:
                body.follow()

    def give_back(self, batch_id: str, why: str) -> None:
        """Let another trainer have a batch, at once instead of when its lease expires."""
        try:
            self.client.release([batch_id], "returned", why)
        except (ConnectionError, RaloError) as error:
            log.warning("could not hand batch %s back: %s", batch_id, error)

    def _encoded(self, gradient: Gradient) -> dict[str, npt.NDArray[Any]]:
        return {
            f"{name}{suffix}": array
            for name, value in gradient.tensors.items()
            for suffix, array in self.codec.encode(name, value.numpy()).items()
        }

    def _with_care(self, answered: Answered, deliver: Callable[[], None]) -> None:
        try:
            deliver()
        except RunOver as news:
            log.info("%s", news)
            self.stopping.set()
        except ConnectionError as error:
            if not self.stopping.is_set():
                raise
            log.warning("gave up on the gradient of batch %s: %s", answered.batch_id, error)
        except BaseException:
            self.give_back(answered.batch_id, "trainer failed")
            raise

    def _release(self, answered: Answered) -> None:
        if self.group.leads:
            self.client.release([answered.batch_id], "empty", "every advantage is zero")

    def _send(self, answered: Answered, gradient: Gradient, body: GroupBody) -> None:
        batch_id = answered.batch_id
        try:
            self.client.send_gradient(
                body,
                upload_id=uuid.uuid4().hex,
                batch_id=batch_id,
                base_version=answered.version,
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
    """Return the metrics that JSON has a word for; the server judges the gradient by its values."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        log.warning("batch %s: %s not finite, left out of its metrics", batch_id, ", ".join(bad))
    return {name: value for name, value in metrics.items() if name not in bad}
