"""The rewards of the task library."""
