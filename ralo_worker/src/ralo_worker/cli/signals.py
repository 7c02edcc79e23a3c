"""The signals on which a worker hands back what it holds and ends."""

import signal
import threading

from ralo_core.supervise import STOP_SIGNALS


def stop_on_signals(stopping: threading.Event) -> None:
    """Set `stopping` when one of the signals comes."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stopping.set())
