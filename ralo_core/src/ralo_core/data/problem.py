"""`Problem`: one task for the policy, as a provider yields it and a sampler leases it.

It holds no tokens and no prompt template: a sampler renders it for its model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

Message = Mapping[str, str]
"""A chat message, ``{"role": ..., "content": ...}``."""


@attrs.frozen(kw_only=True)
class Problem:
    """A task with its reference answer.

    `id` is unique within a run. `prompt` is plain text or a list of chat messages.
    `answer` is the reference answer as text; what it means is up to the rewards.
    `metadata` is JSON-able and travels with the problem.
    """

    id: str
    prompt: str | Sequence[Message]
    answer: str
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
