"""The exceptions that RALO raises on purpose; every other module imports them from here.

An error says what was wrong, where, and what to do about it. The command line prints
the message of a `RaloError` and exits with 1; anything else is a bug and keeps its
traceback. This module knows nothing of the rest of the package.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RaloError(Exception):
    """Raised for a problem that the user can mend; the message is shown without a traceback."""


class PluginError(RaloError):
    """Raised when a plugin cannot be used, or two plugins claim the same name."""


class UnknownComponentError(RaloError):
    """Raised when the config names a component that no active plugin offers."""


class ConfigError(RaloError):
    """Raised once for all the faults of a config; `faults` keeps them one by one."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(f"the configuration has {len(self.faults)} fault(s):\n{lines}")


class WireError(RaloError):
    """Raised when a message body is not what the wire format says it must be."""


class DataError(RaloError):
    """Raised when a value object is inconsistent, for example a tree with a dangling parent."""


class ServerError(RaloError):
    """Raised by the client for a problem document that retrying cannot mend."""

    def __init__(self, status: int, problem: dict[str, object]) -> None:
        self.status = status
        self.problem = problem
        title = problem.get("title") or "the server refused the request"
        detail = problem.get("detail") or ""
        super().__init__(f"{title} (HTTP {status}){': ' if detail else ''}{detail}")

    def __reduce__(self) -> tuple[type, tuple[int, dict[str, object]]]:
        return type(self), (self.status, self.problem)


class RunOver(RaloError):
    """Raised by the client when the server answers 410: the run is finished, stop working."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, else ``""``."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
