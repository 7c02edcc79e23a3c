"""RALO's contract: what plugins implement, what crosses the wire, how a run is configured.

Everything a plugin author needs is importable from here. This package imports neither torch
nor falcon nor vllm, and knows nothing of the server's and the workers' insides.
"""

from ralo_core.components import BuildContext, Command, Component, Recipe
from ralo_core.config.benchmarks import BenchmarkSettings
from ralo_core.config.setting import setting
from ralo_core.data import (
    PROMPT,
    Batch,
    Completion,
    DeltaLink,
    EngineStats,
    GenerationRequest,
    GradientUpload,
    Problem,
    Response,
    RolloutTree,
    TreeBuilder,
    WeightDelta,
    WeightFile,
    WeightVersion,
)
from ralo_core.errors import RaloError
from ralo_core.hookspecs import hookimpl
from ralo_core.protocols import LossBatch, SamplingContext

__version__ = "0.1.0"

__all__ = [
    "PROMPT",
    "Response",
    "Batch",
    "BenchmarkSettings",
    "BuildContext",
    "Command",
    "Completion",
    "Component",
    "EngineStats",
    "GenerationRequest",
    "GradientUpload",
    "LossBatch",
    "Problem",
    "RaloError",
    "Recipe",
    "RolloutTree",
    "SamplingContext",
    "TreeBuilder",
    "DeltaLink",
    "WeightDelta",
    "WeightFile",
    "WeightVersion",
    "hookimpl",
    "setting",
]
