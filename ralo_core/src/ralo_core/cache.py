"""Where this machine keeps models and weights that runs and workers share.

Neighbours: ``ralo run`` puts the embedded model there, workers the weight versions they fetch.
"""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder: ``RALO_CACHE``, or ~/.cache/ralo."""
    return Path(os.environ.get("RALO_CACHE") or Path.home() / ".cache" / "ralo")
