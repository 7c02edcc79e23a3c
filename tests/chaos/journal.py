"""What a process knows for certain, in a file that survives kill -9 of it.

Every worker has one. A line is on the disk before the process
goes on; the last one may be torn.
"""

import json
import os


class Journal:
    """Appends JSON lines to `path`."""

    def __init__(self, path):
        self._file = path.open("a", encoding="utf-8")

    def write(self, kind, **facts):
        """Write one line and bring it to the disk."""
        self._file.write(json.dumps({"kind": kind, **facts}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_all(folder):
    """Return the whole lines of every journal in `folder`."""
    lines = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            lines.append(json.loads(line))
    return lines
