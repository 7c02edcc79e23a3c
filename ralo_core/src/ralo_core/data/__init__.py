"""The value types of the contract: frozen attrs classes over numpy, no torch, no I/O."""

from ralo_core.data.batch import Batch
from ralo_core.data.evaluation import ItemResponses, ResponseSettings
from ralo_core.data.generation import Completion, EngineStats, GenerationRequest, Response
from ralo_core.data.gradient import GradientUpload
from ralo_core.data.problem import Message, Problem
from ralo_core.data.report import EngineReport, VersionDelay, WeightsReport
from ralo_core.data.tree import PROMPT, RolloutTree, TreeBuilder
from ralo_core.data.version import DeltaLink, WeightDelta, WeightFile, WeightVersion

__all__ = [
    "PROMPT",
    "Response",
    "ResponseSettings",
    "Batch",
    "Completion",
    "DeltaLink",
    "EngineReport",
    "EngineStats",
    "GenerationRequest",
    "GradientUpload",
    "ItemResponses",
    "Message",
    "Problem",
    "RolloutTree",
    "TreeBuilder",
    "VersionDelay",
    "WeightDelta",
    "WeightFile",
    "WeightVersion",
    "WeightsReport",
]
