"""A config without what nobody else may read: for trackers, and for whoever looks at a run.

Neighbours: trackers send the result along. Tokens of a run are not in its config; this is for what
a user wrote into it all the same: keys among a plugin's options, passwords in URLs.
"""

import re
from typing import Any

REMOVED = "(removed)"

_SECRET_KEY = re.compile(
    r"(^|_)(secret|password|passwd|token|credentials?|api_?key|access_?key|auth_?key)s?$", re.I
)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def without_secrets(value: Any) -> Any:
    """Return plain data with `REMOVED` in place of every text under the key of a secret, and of
    user and password in every URL."""
    if isinstance(value, dict):
        return {key: _cleaned(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return _USER_IN_URL.sub(REMOVED, value) if isinstance(value, str) else value


def _cleaned(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key) and isinstance(value, str) and value:
        return REMOVED
    return without_secrets(value)
