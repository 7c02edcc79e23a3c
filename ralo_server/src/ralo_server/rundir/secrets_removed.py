"""A config for people who may look at the run and no further: what is secret is left out.

Workers get the whole config.
"""

import re
from collections.abc import Mapping
from typing import Any

REMOVED = "(removed)"

_SECRET_KEY = re.compile(
    r"(^|_)(api_?key|access_?key|secret|password|passwd|passphrase|token|credentials?)($|_)", re.I
)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_ASSIGNED = re.compile(
    r"(?<![\w-])([\w-]*(?:key|secret|token|password|signature|sig)=)[^&\s]+", re.I
)


def without_secrets(value: Any, key: str = "") -> Any:
    """Return a copy in which texts under the name of a secret, users in URLs, and what is assigned
    to such a name in a URL or a command, are gone.

    Numbers stay: ``max_tokens`` is none. An empty text stays, too: it says that there is nothing.
    """
    if isinstance(value, Mapping):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, key) for item in value]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_KEY.search(key):
        return REMOVED
    return _ASSIGNED.sub(rf"\1{REMOVED}", _USER_IN_URL.sub(REMOVED, value))
