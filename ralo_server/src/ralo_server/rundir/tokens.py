"""Whether a run asks for tokens, and the making of them.

They are made before anything listens: there is no moment in which a run is open to all.
"""

import ipaddress
import json
import secrets
from collections.abc import Mapping

from ralo_core.access import ROLES, read_tokens
from ralo_core.config import ServerSettings
from ralo_core.files.atomic import write_blob
from ralo_server.rundir.directory import RunDirectory

_RANDOM_BYTES = 24


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a socket bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def required(server: ServerSettings) -> bool:
    """Say whether requests need a token: where others can connect, unless configured."""
    return server.auth == "on" or (server.auth == "auto" and not is_loopback(server.host))


def make_tokens(directory: RunDirectory) -> Mapping[str, str]:
    """Write a new token per role for a run that has none; return the new ones."""
    if read_tokens(directory.root):
        return {}
    tokens = {role: f"{role}-{secrets.token_urlsafe(_RANDOM_BYTES)}" for role in ROLES}
    text = json.dumps(tokens, indent=1)
    write_blob(directory.tokens_file, text.encode(), mode=0o600)
    return tokens
