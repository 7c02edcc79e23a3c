"""Trackers that need a package of their own; the one of every run is in `ralo_core.builtin`."""
