"""The contract of trackers: they take every metric of a step and can be closed."""

from ralo_core.protocols import Tracker


def check_tracker(tracker: Tracker) -> None:
    """Check that `tracker` takes steps, evaluations and numbers that are not finite."""
    tracker.log(1, {"reward": 0.5, "step": 1, "time": 1.5})
    tracker.log(1, {"accuracy": 0.5, "version": 1})
    tracker.log(2, {"reward": float("nan"), "loss": float("inf")})
    tracker.close()
