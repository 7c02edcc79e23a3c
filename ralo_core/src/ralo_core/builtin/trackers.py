"""The `jsonl` tracker: one line per record in the run directory's ``metrics.jsonl``.

``jq``, pandas or ``ralo plot`` read the file while it grows.
"""

import json
import math
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from ralo_core.components import BuildContext
from ralo_core.errors import RaloError

JSONL = "jsonl"
METRICS_FILE = "metrics.jsonl"


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
        self.path: Path = context.run_dir / METRICS_FILE
        self._last = ""
        self._file: FileIO | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps({"step": step, **finite}, ensure_ascii=False)
        file = self._opened()
        if line != self._last:
            self._append(file, f"{line}\n".encode())
        self._last = line

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, file: FileIO, line: bytes) -> None:
        try:
            if file.write(line) < len(line):
                msg = f"no room for a whole line in {self.path}"
                raise OSError(msg)
        except OSError:
            self.close()  # opened again, what is there of the line is cut off
            raise

    def _opened(self) -> FileIO:
        if self._file is None:
            self._last = _cut_unfinished_line(self.path)
            self._file = self.path.open("ab", buffering=0)
        return self._file


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
