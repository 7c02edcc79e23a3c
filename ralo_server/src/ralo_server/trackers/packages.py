"""Whether the package of a tracker is installed, and what to type where it is not.

Trackers ask when they are built, which is before a run starts.
"""

import importlib.util

from ralo_core.errors import RaloError


def require(package: str) -> None:
    """Raise `RaloError` with the pip command unless `package`, an extra of ours, is there."""
    if importlib.util.find_spec(package) is None:
        msg = f"the tracker {package} needs its package: pip install 'ralo-server[{package}]'"
        raise RaloError(msg)
