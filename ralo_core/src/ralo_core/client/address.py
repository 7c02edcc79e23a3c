"""Where the orchestrator is, and the token it asks for: given, or read from a run directory.

It is asked again whenever the server does not answer, so that workers on a shared file system
follow an orchestrator that a scheduler has started on another machine. The web side writes
``server.url``.
"""

from pathlib import Path
from typing import Protocol

import attrs

from ralo_core.access import URL_FILE, read_tokens


class Address(Protocol):
    """Says where the orchestrator is now."""

    @property
    def url(self) -> str:
        """The URL without a slash at the end, ``""`` while there is none."""

    @property
    def token(self) -> str:
        """The token to show, ``""`` for none."""


def _without_slash(url: str) -> str:
    return url.rstrip("/")


@attrs.frozen
class FixedAddress:
    """An orchestrator that stays where it is."""

    url: str = attrs.field(converter=_without_slash)
    token: str = attrs.field(default="", repr=False)


@attrs.frozen
class RunAddress:
    """The orchestrator of the run in `directory`, asked in `role`; `given` is a token that goes
    before the one in the directory. Each property reads the file that the orchestrator writes."""

    directory: Path
    role: str
    given: str = attrs.field(default="", repr=False)

    def __str__(self) -> str:
        return str(self.directory)

    @property
    def url(self) -> str:
        """What ``server.url`` says; ``""`` before the orchestrator has written it."""
        try:
            return (self.directory / URL_FILE).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    @property
    def token(self) -> str:
        """The given token, or the role's in ``tokens.json``."""
        return self.given or read_tokens(self.directory).get(self.role, "")


def address_of(server: str, role: str, token: str = "") -> Address:
    """Return the address that `server`, a URL or a run directory, stands for."""
    if "://" in server:
        return FixedAddress(server, token)
    return RunAddress(Path(server), role, token)
