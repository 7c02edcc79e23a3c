"""The signals on which a worker hands back what it holds and ends.

SIGUSR1 is what schedulers send some time before they take a machine away. Neighbours: the commands
of sampler and trainer set the handlers.
"""

import signal
import threading

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def stop_on_signals(stopping: threading.Event) -> None:
    """Set `stopping` when one of the signals comes."""
    for number in ENDING:
        signal.signal(number, lambda *_: stopping.set())
