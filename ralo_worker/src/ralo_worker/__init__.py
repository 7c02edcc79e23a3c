"""Sampler and trainer runtimes of RALO; `ralo_worker.plugin` says what they register."""

__version__ = "0.1.0"
