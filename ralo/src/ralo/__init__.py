"""RALO: everything that a run needs, and the commands that operate it."""

__version__ = "0.1.0"
