"""The `jsonl` tracker: one line per record in the run directory's ``metrics.jsonl``.

Neighbours: the learner calls `log`; ``jq``, pandas or a notebook read the file while it grows.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ralo_core.components import BuildContext
from ralo_core.errors import RaloError


class JsonlTracker:
    """Appends ``{"step": ..., metric: value, ...}`` and flushes, so that a reader sees it.

    A restarted run goes on in the same file; JSON has no NaN and no infinity, they are null.
    """

    def __init__(self, settings: None, context: BuildContext) -> None:
        if context.run_dir is None:
            msg = "the jsonl tracker needs a run directory; it runs in the learner only"
            raise RaloError(msg)
        self.path: Path = context.run_dir / "metrics.jsonl"
        self._file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **finite}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
