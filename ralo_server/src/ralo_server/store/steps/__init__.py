"""Optimizer steps: the transaction that commits one, its log, and the records for trackers."""
