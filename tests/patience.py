"""How long a test waits for something that must happen.

Long, because only a failure ever waits so long: on a machine that does other work beside, a
process may take many times what it usually takes to start.
"""

import time

PATIENCE = 300.0
"""Seconds."""


def wait_for(condition, explain=lambda: "waited too long", pause=0.02):
    """Return the first true value of `condition`; fail with what `explain` returns."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, explain()
        time.sleep(pause)
    return value
