"""`GradientUpload`: the declaration that travels with a gradient body.

Neighbours: the trainer writes it, the server checks it at the door, the learner weighs the
gradient by it. The tensors themselves are a safetensors body and are not held here.
"""

from collections.abc import Mapping

import attrs

from ralo_core.identifiers import identifier


@attrs.frozen(kw_only=True)
class GradientUpload:
    """One trainer group's mean gradient over one batch.

    `upload_id` is the idempotency key. `base_version` is the weight version the gradient was
    taken at. `weight` is the loss normaliser (usually the trained token count): the learner's
    token-weighted mean is ``sum(weight * gradient) / sum(weight)``. `sha256` and `size`
    (bytes) describe the body; `codec` says how its tensors are encoded; `metrics` are the
    loss's scalars over the batch.
    """

    upload_id: str = attrs.field(validator=identifier)
    batch_id: str = attrs.field(validator=identifier)
    worker_id: str = attrs.field(validator=identifier)
    base_version: int
    weight: float
    codec: str
    size: int
    sha256: str
    metrics: Mapping[str, float] = attrs.field(factory=dict)
