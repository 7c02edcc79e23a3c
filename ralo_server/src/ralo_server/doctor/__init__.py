"""Checks of a run directory, by subject; `doctor.examination` runs them and mends."""
