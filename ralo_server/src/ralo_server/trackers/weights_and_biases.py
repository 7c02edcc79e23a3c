"""The `wandb` tracker: a run at Weights & Biases, or its files in the run directory to sync later.

Its calls may wait for a network: the learner makes them on a thread of their own. The x-axis is the
optimizer step, not wandb's count of calls: an evaluation arrives later than the step it belongs to.
"""

import contextlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ralo_core.components import BuildContext
from ralo_core.errors import RaloError
from ralo_core.files.atomic import write_blob
from ralo_server.rundir.secrets_removed import without_secrets
from ralo_server.trackers.packages import require
from ralo_server.trackers.settings import WandbSettings

_ID_FILE = "wandb.id"
_FLUSH_SECONDS = 5.0
"""How often wandb's process writes what it has to its file."""


class WandbTracker:
    """Logs to the run whose id lies in the run directory: a restart continues it.

    What `log` gave is in wandb's file a few seconds later; until then it counts as not taken.
    """

    settle_seconds = 2 * _FLUSH_SECONDS

    def __init__(self, settings: WandbSettings, context: BuildContext) -> None:
        require("wandb")
        if context.run_dir is None:
            msg = "the wandb tracker needs a run directory; it runs in the learner only"
            raise RaloError(msg)
        self._settings, self._folder = settings, context.run_dir
        self._config = without_secrets(dict(context.config))
        self._mode: Any = settings.mode
        self._run: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row; the first call opens the run, and raises what wandb raises."""
        if self._run is None:
            self._run = self._opened()
        try:
            self._run.log({"step": step, **metrics})
        except Exception:
            self._drop()
            raise

    def close(self) -> None:
        """Write or send everything and end the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _drop(self) -> None:
        """Drop a run whose call failed: its process may be gone. The next call opens it again."""
        import wandb

        self._run = None
        # A process that is gone cannot be told to end, and wandb raises that; `log` has raised why.
        with contextlib.suppress(Exception):
            wandb.teardown(exit_code=1)

    def _opened(self) -> Any:
        import wandb  # seconds of imports, and only where it is used

        # A process of wandb's that somebody else started outlives a killed learner, and refuses
        # its successor the run, which it takes to be open.
        os.environ.pop("WANDB_SERVICE", None)
        run = wandb.init(
            id=_stable_id(self._folder / _ID_FILE),
            resume="allow",
            dir=self._folder,
            mode=self._mode,
            project=self._settings.project,
            entity=self._settings.entity or None,
            name=self._settings.name or self._folder.name,
            group=self._settings.group or None,
            tags=self._settings.tags,
            config=self._config,
            settings=wandb.Settings(
                console="off",  # the learner's log is its own
                silent=True,
                disable_git=True,
                x_disable_stats=True,
                x_transaction_log_flush_interval=_FLUSH_SECONDS,
            ),
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run


def _stable_id(path: Path) -> str:
    """Return the id of the wandb run of a run directory, the same at every start."""
    if not path.exists():
        write_blob(path, uuid.uuid4().hex[:12].encode())
    return path.read_text().strip()
