"""Fits for a web process, computed in child processes: a fit takes seconds of a core.

A fit is kept with its points, and is not computed again as long as these are the same. One child
runs at a time: a request for another curve has to ask again. scipy is never loaded into the web
process.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Any

import attrs

Points = Sequence[tuple[float, float]]
Curve = tuple[str, str]
"""Benchmark and metric."""

_REMEMBERED = 64
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@attrs.frozen(eq=False)
class _Child:
    """A fit under way."""

    curve: Curve
    points: Points
    process: "subprocess.Popen[bytes]"
    output: IO[bytes]


@attrs.define
class Fits:
    """The fits of a run's curves. Thread-safe; nothing waits in here."""

    _fits: dict[Curve, tuple[Points, dict[str, Any]]] = attrs.field(factory=dict, init=False)
    _child: _Child | None = attrs.field(default=None, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def get(self, curve: Curve, points: Points) -> dict[str, Any] | None:
        """Return the fit of `points`, or None while it is computed: ask again."""
        with self._lock:
            self._collect()
            fitted, document = self._fits.get(curve, (None, {}))
            if fitted == points:
                return document
            if self._child is None:
                self._child = _start(curve, points)
            return None

    def _collect(self) -> None:
        """Keep the fit of a child that has ended."""
        child = self._child
        if child is None or child.process.poll() is None:
            return
        self._child = None
        self._fits.pop(child.curve, None)
        self._fits[child.curve] = (child.points, _document(child))
        if len(self._fits) > _REMEMBERED:
            del self._fits[next(iter(self._fits))]


def _start(curve: Curve, points: Points) -> _Child:
    output = tempfile.TemporaryFile()  # noqa: SIM115 (it is open as long as the child runs)
    with tempfile.TemporaryFile() as given:
        given.write(json.dumps(points).encode())
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "ralo_server.scaling"],
            stdin=given,
            stdout=output,
            env={**os.environ, **_ONE_THREAD},
        )
    return _Child(curve, points, process, output)


def _document(child: _Child) -> dict[str, Any]:
    """Return the document of the fit; or of a failure, because the same points would fail again."""
    with child.output:
        child.output.seek(0)
        if child.process.returncode == 0:
            document: dict[str, Any] = json.load(child.output)
            return document
    reason = f"the fit failed (exit {child.process.returncode}): logs/web.log says why"
    return {"fit": None, "refused": reason, "curve": []}
