"""The commands that operate a run, one module each."""
