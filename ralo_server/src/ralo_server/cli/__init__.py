"""The commands that ralo-server adds to ``ralo``."""
