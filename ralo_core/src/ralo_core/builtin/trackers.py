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

    A restarted run goes on in the same file: a line that a killed process left unfinished is
    cut off, and a record that is there already as the last line is not written again. JSON has
    no NaN and no infinity, they are null.
    """

    def __init__(self, settings: None, context: BuildContext) -> None:
        if context.run_dir is None:
            msg = "the jsonl tracker needs a run directory; it runs in the learner only"
            raise RaloError(msg)
        self.path: Path = context.run_dir / "metrics.jsonl"
        self._last = _cut_unfinished_line(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps({"step": step, **finite}, ensure_ascii=False)
        if line != self._last:
            self._file.write(f"{line}\n")
            self._file.flush()
        self._last = line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_unfinished_line(path: Path) -> str:
    """Remove what follows the last newline of the file and return the line before it."""
    if not path.exists():
        return ""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        path.write_bytes(whole)
    lines = whole.splitlines()
    return lines[-1].decode() if lines else ""
