"""The advantages of a stored tree, by the run's own estimator.

The estimator is numpy only and is built in this process
when it is needed first; one that cannot be built here leaves no advantages, and its reason in the
log. It sees one tree: an estimator that scales by a whole batch gives another scale than it gave
in training.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ralo_core.components import BuildContext
from ralo_core.config import Config
from ralo_core.data import RolloutTree

log = logging.getLogger(__name__)

_NOT_HERE = "torch"


class Advantages:
    """The advantage estimator of `config`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._built = False
        self._estimator: Any = None

    def of_segments(self, tree: RolloutTree) -> list[float | None]:
        """Return per segment the mean over the leaves that go through it, None for a segment
        that no leaf goes through, and everywhere where there is no estimator."""
        nothing: list[float | None] = [None] * len(tree.parents)
        with self._lock:
            estimator = self._get()
            if estimator is None:
                return nothing
            try:
                (values,) = estimator.estimate([tree])
            except Exception:  # a plugin's code may raise anything, and the tree can be shown
                log.exception("no advantages of the tree of problem %s", tree.problem_id)
                return nothing
        return _segment_means(tree, values)

    def _get(self) -> Any:
        if not self._built:
            self._built = True
            try:
                with _without(_NOT_HERE):
                    self._estimator = self._config.build(
                        "advantage", BuildContext(role="orchestrator")
                    )
            except Exception as error:  # noqa: BLE001 (a plugin's code may raise anything)
                name = self._config.chosen("advantage")
                log.warning("no advantages are shown: %s cannot be built here: %s", name, error)
        return self._estimator


def _segment_means(tree: RolloutTree, values: npt.NDArray[Any]) -> list[float | None]:
    sums, counts = np.zeros(len(tree.parents)), np.zeros(len(tree.parents), np.int64)
    for leaf, value in enumerate(values):
        for depth, segment in enumerate(tree.path(leaf)):
            sums[segment] += value if np.ndim(value) == 0 else value[depth]
            counts[segment] += 1
    return [
        float(total / count) if count else None for total, count in zip(sums, counts, strict=True)
    ]


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Let imports of `module` fail, where it is not there already: it is not for this process."""
    if module in sys.modules:  # as in a test that has everything in one process
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # what Python provides for this
    try:
        yield
    finally:
        del sys.modules[module]
