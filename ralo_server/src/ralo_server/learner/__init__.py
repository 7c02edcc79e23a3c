"""The learner: the one process with torch and the optimizer; `learner.loop` says what it does."""
