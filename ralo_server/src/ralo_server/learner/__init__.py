"""The learner: the one process with torch and the optimizer."""
