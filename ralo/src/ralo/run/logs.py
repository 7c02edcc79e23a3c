"""The logs of a run's processes: their last lines, and what is added to them.

``ralo serve``, ``ralo run`` and what `ralo.launch` starts write one file per process below ``logs``
of the run directory.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from ralo_core.errors import RaloError, nearest

Line = tuple[str, str]
"""The name of a log, and a line of it."""


@attrs.define
class Logs:
    """The logs in `folder` whose names begin with one of `names`; without names all of them."""

    folder: Path
    names: Sequence[str]
    _read: dict[str, int] = attrs.field(factory=dict, init=False)
    """How many bytes of each log have been returned, or passed over."""

    def tail(self, lines: int) -> Iterator[Line]:
        """Yield the last `lines` of each; raises `RaloError` for a name that no log has."""
        found = self._found()
        for name in self.names:
            if not any(_matches(path.stem, name) for path in found):
                known = [path.stem for path in self._found(every=True)]
                msg = f"{self.folder} has no log of {name!r}{nearest(name, known)}"
                raise RaloError(msg)
        for path in found:
            for line in self._added(path)[-lines:] if lines else self._added(path)[:0]:
                yield path.stem, line

    def added(self) -> Iterator[Line]:
        """Yield the whole lines that were written since the last call, new logs included."""
        for path in self._found():
            for line in self._added(path):
                yield path.stem, line

    def _found(self, every: bool = False) -> list[Path]:
        return [
            path
            for path in sorted(self.folder.glob("*.log"))
            if every or not self.names or any(_matches(path.stem, name) for name in self.names)
        ]

    def _added(self, path: Path) -> list[str]:
        start = self._read.get(path.stem, 0)
        with path.open("rb") as file:
            if file.seek(0, 2) < start:
                start = 0  # it was begun anew
            file.seek(start)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the rest of a line comes with the next call
        self._read[path.stem] = start + len(whole)
        return whole.decode(errors="replace").splitlines()


def _matches(stem: str, name: str) -> bool:
    """``sample`` stands for ``sample-0`` and ``sample-1``, too."""
    return stem == name or stem.startswith(f"{name}-")
