"""A port for a server that a test ends and starts again at the same address."""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_BELOW = 12_000


def port_to_keep():
    """Return a free port of 127.0.0.1 that stays free while nobody listens at it.

    The system gives ports of its own range to outgoing connections and to servers that ask for
    port 0, at any moment. This one lies below that range.
    """
    lowest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    dice = random.SystemRandom()  # processes of the suite have the same seed
    while True:
        port = dice.randrange(lowest - _BELOW, lowest)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
