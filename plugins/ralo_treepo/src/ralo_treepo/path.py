"""`Path`: a response under way, as the chain of its segments.

Copies of a path are one object: a path never changes.
"""

from collections.abc import Iterator

import attrs

from ralo_core import PROMPT, Completion
from ralo_treepo.stopping import NOTHING_READ, Read


@attrs.frozen(kw_only=True, eq=False)
class Path:
    """The path that ends with segment `node`; `PROMPT` and no parent for the bare prompt.

    `tokens` counts the response, `logprob` is the sum of its behaviour log-probs (nats),
    `segment_logprob` the mean over the last segment, `segment_entropy` the mean entropy of the
    policy over it (nats; 0 where it was not asked for), `read` what its text showed so far.
    """

    node: int = PROMPT
    parent: "Path | None" = None
    depth: int = 0
    tokens: int = 0
    logprob: float = 0.0
    segment_logprob: float = 0.0
    segment_entropy: float = 0.0
    read: Read = NOTHING_READ

    def extended(self, node: int, done: Completion, read: Read) -> "Path":
        """Return this path with one more segment, known to the tree as `node`."""
        total = float(done.logprobs.sum())
        return Path(
            node=node,
            parent=self,
            depth=self.depth + 1,
            tokens=self.tokens + len(done.tokens),
            logprob=self.logprob + total,
            segment_logprob=total / len(done.tokens),
            segment_entropy=0.0 if done.entropies is None else float(done.entropies.mean()),
            read=read,
        )

    def segments(self) -> Iterator["Path"]:
        """Yield the path at each of its segments, the last first; nothing for the bare prompt."""
        path = self
        while path.parent is not None:
            yield path
            path = path.parent
