"""Writes the files of an optimizer step: the new optimizer folder and the new version's.

Neighbours: `loop` commits what was written, one transaction for both. Until then nothing points
at the folders and nothing that was committed has changed.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import attrs

from ralo_core.data import WeightVersion
from ralo_core.errors import RaloError
from ralo_core.protocols import AggregationPolicy, GradientCodec
from ralo_server.blobs import new_directory
from ralo_server.learner.aggregate import combine_gradients
from ralo_server.learner.master import Master
from ralo_server.learner.publishing import Publisher


class NotFiniteError(RaloError):
    """The gradients of a step combine to something that is not finite."""


@attrs.frozen(kw_only=True)
class WrittenStep:
    """What a step made: the master it leads to, its version, and the norm before clipping."""

    master: Master
    version: WeightVersion
    norm: float


@attrs.frozen(kw_only=True)
class StepFiles:
    """Writes steps with the run's policies."""

    aggregation: AggregationPolicy
    codec: GradientCodec
    publisher: Publisher

    def write(
        self,
        master: Master,
        step: int,
        terms: Sequence[tuple[Path, float]],
        optimizer: Path,
        target: Path,
        number: int,
        spare: Path | None,
        parent: Path | None = None,
    ) -> WrittenStep:
        """Take `step` from `master` with the gradients of `terms` (file, weight above 0) into the
        folder `optimizer`, and publish version `number` in `target`.

        `spare`, an optimizer folder that nobody needs, is overwritten for it; `parent` is the
        folder of the version before, None for no delta from it. Raises
        `NotFiniteError` before any weight is changed.
        """
        shapes = master.shapes()
        with new_directory(optimizer, spare) as folder, master.draft(folder) as draft:
            norm = combine_gradients(
                terms, self.codec, self.aggregation, shapes, draft.write_weights
            )
            if not math.isfinite(norm):
                names = ", ".join(path.name for path, _ in terms)
                msg = f"the gradients of step {step} combine to a norm of {norm}: {names}"
                raise NotFiniteError(msg)
            version = self.publisher.write(
                target,
                number,
                shapes,
                master.advance(draft, step, norm),
                master.constants,
                step=step,
                parent=parent,
            )
        return WrittenStep(master=master.after(draft), version=version, norm=norm)
