"""The optimizer state of a run: master weights, checkpoints, recovery after a kill."""
