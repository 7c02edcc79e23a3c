"""The ``ralo`` command line; each module is one command."""
