"""RALO's contract: what plugins implement, what crosses the wire, how a run is configured.

Everything that a plugin needs is importable from here, and from `ralo_core.testing` in its tests:
what it registers, how its options are declared and checked, the protocols and the data types of
the components, the errors. This module loads neither torch nor falcon nor vllm, and no part of the
configuration, the client or the command line.
"""

from ralo_core.components import BuildContext, Command, Component, Recipe
from ralo_core.data import (
    PROMPT,
    Batch,
    Completion,
    DeltaLink,
    EngineStats,
    GenerationRequest,
    GradientUpload,
    Message,
    Problem,
    Response,
    RolloutTree,
    TreeBuilder,
    WeightDelta,
    WeightFile,
    WeightVersion,
)
from ralo_core.errors import ConfigError, DataError, RaloError
from ralo_core.hookspecs import hookimpl
from ralo_core.options import (
    BenchmarkSettings,
    at_least,
    between,
    capital_letters,
    one_of,
    positive,
    regex,
    setting,
    with_default,
)
from ralo_core.protocols import (
    AdvantageEstimator,
    Aggregator,
    Benchmark,
    Correction,
    GradientCodec,
    GradientInfo,
    InferenceEngine,
    Loss,
    LossBatch,
    OptimizerFactory,
    ProblemProvider,
    Reward,
    SamplingAlgorithm,
    SamplingContext,
    ScalingOptimizerFactory,
    SettlingTracker,
    SurveyingCorrection,
    Tracker,
)
from ralo_core.request_checks import check_requests
from ralo_core.texts import letter_of, lone_letter, normalised
from ralo_core.user_functions import import_function
from ralo_core.whitening import whitened

__version__ = "0.1.0"

__all__ = [
    "PROMPT",
    "AdvantageEstimator",
    "Aggregator",
    "Batch",
    "Benchmark",
    "BenchmarkSettings",
    "BuildContext",
    "Command",
    "Completion",
    "Component",
    "ConfigError",
    "Correction",
    "DataError",
    "DeltaLink",
    "EngineStats",
    "GenerationRequest",
    "GradientCodec",
    "GradientInfo",
    "GradientUpload",
    "InferenceEngine",
    "Loss",
    "LossBatch",
    "Message",
    "OptimizerFactory",
    "Problem",
    "ProblemProvider",
    "RaloError",
    "Recipe",
    "Response",
    "Reward",
    "RolloutTree",
    "SamplingAlgorithm",
    "SamplingContext",
    "ScalingOptimizerFactory",
    "SettlingTracker",
    "SurveyingCorrection",
    "Tracker",
    "TreeBuilder",
    "WeightDelta",
    "WeightFile",
    "WeightVersion",
    "at_least",
    "between",
    "capital_letters",
    "check_requests",
    "hookimpl",
    "import_function",
    "letter_of",
    "lone_letter",
    "normalised",
    "one_of",
    "positive",
    "regex",
    "setting",
    "whitened",
    "with_default",
]
