"""Which trackers a run has: `jsonl`, and those that its config lists."""

from collections.abc import Sequence

from ralo_core.builtin.trackers import JSONL
from ralo_core.config import Config


def tracker_names(config: Config) -> Sequence[str]:
    """Return their names, once each: metrics.jsonl is written whatever else is listed."""
    return list(dict.fromkeys([JSONL, *config.data["trackers"]["pipeline"]]))
