"""``python -m ralo_server.learner RUN_DIR``: the learner process of a run.

``ralo serve`` starts it, and starts it again when it fails; it continues from the last committed
step.
"""

import logging
import os
import sys
import traceback
from pathlib import Path

import torch

from ralo_core.config import LearnerSettings
from ralo_core.supervise import StopSignal
from ralo_server.learner.loop import Learner
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store

_NICENESS = 10
"""Where cores are few, a step gives way to the web processes, whose work is short."""


def main() -> None:
    """Run until the run is finished or a signal comes."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    stopped = StopSignal()
    os.nice(_NICENESS)
    directory = RunDirectory(Path(sys.argv[1]))
    config, registry = directory.load_config(("aggregation", "optimizer", "codec", "trackers"))
    torch.set_num_threads(config.section(LearnerSettings).threads)
    store = Store(directory, config)
    try:
        learner = Learner(store, registry.host)
        learner.run(stopped)
    except BaseException:
        # Whatever was raised: people look at /stats before they look into a log.
        store.run.note_error(traceback.format_exc(limit=-1).strip())
        raise
    if learner.left_behind:
        # What the library of a tracker that hangs does at exit may hang, too.
        logging.shutdown()
        os._exit(0)


if __name__ == "__main__":
    main()
