"""The `tensorboard` tracker: event files with a scalar per metric.

A restart writes a further file into the same folder, which TensorBoard reads as one run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ralo_core.components import BuildContext
from ralo_core.errors import RaloError
from ralo_server.trackers.packages import require
from ralo_server.trackers.settings import TensorboardSettings


class TensorboardTracker:
    """Writes every metric as a scalar under its own name, at the optimizer step and at the time
    when it was measured."""

    def __init__(self, settings: TensorboardSettings, context: BuildContext) -> None:
        require("tensorboard")
        if context.run_dir is None and not Path(settings.folder).is_absolute():
            msg = "the tensorboard tracker needs a run directory; it runs in the learner only"
            raise RaloError(msg)
        self._folder = (context.run_dir or Path()) / settings.folder
        self._writer: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the scalars to the file."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # only where it is used

            self._writer = SummaryWriter(str(self._folder))
        for name, value in metrics.items():
            if name not in ("step", "time"):
                self._writer.add_scalar(name, value, step, walltime=metrics.get("time"))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
