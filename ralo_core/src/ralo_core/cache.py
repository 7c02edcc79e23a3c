"""Where this machine keeps models and weights that runs and workers share."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder: ``RALO_CACHE``, or ~/.cache/ralo."""
    return Path(os.environ.get("RALO_CACHE") or Path.home() / ".cache" / "ralo")
