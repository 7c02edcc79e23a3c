"""Whether a client takes gzip.

It is for the dashboard, whose replies are long and go to people far away.
"""

import falcon

_REFUSED = ("q=0", "q=0.0", "q=0.00", "q=0.000")


def takes_gzip(request: falcon.Request) -> bool:
    """Say whether the client's ``Accept-Encoding`` allows gzip."""
    for part in (request.get_header("Accept-Encoding") or "").lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in _REFUSED
    return False
