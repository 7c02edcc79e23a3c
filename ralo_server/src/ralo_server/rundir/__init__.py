"""The run directory: its paths, its lock, its tokens, the config and metrics in it."""
