"""`GradientUpload`: the declaration that goes ahead of a gradient body.

The trainer writes it, the server validates it before it takes any byte of the body, the learner
weighs the gradient by it. The tensors are not here: they are a safetensors body, sent in chunks.
"""

from collections.abc import Mapping

import attrs

from ralo_core.files.digests import ALGORITHM, identity_of
from ralo_core.identifiers import identifier
from ralo_core.options.checks import one_of


@attrs.frozen(kw_only=True)
class GradientUpload:
    """One trainer group's mean gradient over one batch.

    `upload_id` is the idempotency key. `base_version` is the weight version the gradient was
    taken at. `weight` is the loss normaliser (usually the trained token count): the learner's
    token-weighted mean is ``sum(weight * gradient) / sum(weight)``. The body has `size` bytes
    and travels in chunks of `chunk_bytes` (the last one may be shorter) whose digests by the
    algorithm `digest`, in hexadecimal, are `chunk_digests`; `codec` says how its tensors are
    encoded; `metrics` are the loss's scalars over the batch.
    """

    upload_id: str = attrs.field(validator=identifier)
    batch_id: str = attrs.field(validator=identifier)
    worker_id: str = attrs.field(validator=identifier)
    base_version: int
    weight: float
    codec: str
    size: int
    chunk_bytes: int
    digest: str = attrs.field(default=ALGORITHM, validator=one_of(ALGORITHM))
    chunk_digests: tuple[str, ...]
    metrics: Mapping[str, float] = attrs.field(factory=dict)

    @property
    def identity(self) -> str:
        """What tells this body from another one: the digest over those of its chunks, in order."""
        return identity_of(self.chunk_digests)
