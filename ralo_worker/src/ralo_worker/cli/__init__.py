"""The commands that ralo-worker adds to ``ralo``."""
