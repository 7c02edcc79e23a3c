"""The orchestrator of RALO: web processes, state store and learner."""

__version__ = "0.1.0"
