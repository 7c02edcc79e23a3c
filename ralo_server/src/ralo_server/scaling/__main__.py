"""``python -m ralo_server.scaling``: fit the points on standard input, print the fit, both JSON.

It is a process of its own so that the web process answers others meanwhile.
"""

import json
import os
import sys

from ralo_core.supervise import die_with
from ralo_server.scaling.fit import fit

_NICENESS = 19
"""A fit gives way to the web processes: workers wait for those."""


def main() -> None:
    """Read ``[[C, R], ...]`` and write the document of the fit."""
    die_with(os.getppid())
    os.nice(_NICENESS)
    json.dump(fit(json.load(sys.stdin)).document(), sys.stdout)


if __name__ == "__main__":
    main()
