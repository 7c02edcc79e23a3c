"""The contract of trackers: they take every metric of a step and can be closed."""

from collections.abc import Callable

from ralo_core.protocols import Tracker


def check_tracker(make: Callable[[], Tracker]) -> None:
    """Check that a tracker from `make` takes steps, names in parts, numbers that are not finite, an
    evaluation that arrives after later steps, the same record again, as after a crash, and a change
    of names; and that it can be closed, also where it was given nothing."""
    make().close()
    tracker = make()
    first = {
        "reward": 0.5,
        "step": 1,
        "version": 1,
        "time": 1.5,
        "stop/eos": 1,
        "elapsed_seconds": 2,
    }
    tracker.log(1, first)
    tracker.log(2, {**first, "step": 2, "reward": float("nan"), "loss": float("inf")})
    tracker.log(3, {**first, "step": 3, "leaves_at_depth/17+": 0.25, "tokens": 1 << 40})
    tracker.log(3, {**first, "step": 3, "leaves_at_depth/17+": 0.25, "tokens": 1 << 40})
    tracker.log(
        1, {"version": 1, "eval/held_out/accuracy": 0.5, "eval/held_out/accuracy/low": -0.0}
    )
    tracker.log(3, {"version": 4, "rollback_to": 2, "time": 9.5})
    tracker.close()
