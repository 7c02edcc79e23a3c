"""The metrics of a benchmark's responses, with their intervals.

Pure functions of what samplers reported; nothing here knows of shards, versions or files.
"""

from ralo_server.evaluation.bootstrap import Estimate
from ralo_server.evaluation.estimates import estimates, load_scores
from ralo_server.evaluation.item_result import ItemResult

__all__ = ["Estimate", "ItemResult", "estimates", "load_scores"]
