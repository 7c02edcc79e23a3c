"""Layered, typed configuration; see `resolve` for the flow and `settings` for the keys."""

from ralo_core.config.launching import LaunchSettings
from ralo_core.config.layers import Layer, environment_layer, file_layer, set_layer
from ralo_core.config.resolve import Config, from_data, resolve
from ralo_core.config.settings import (
    EvaluationSettings,
    GenerationSettings,
    LearnerSettings,
    LocalStepsSettings,
    LoraSettings,
    PluginSettings,
    PromptSettings,
    RegularisationSettings,
    RolloutsSettings,
    RunSettings,
    SamplerSettings,
    ServerSettings,
    TrainerSettings,
    WeightsSettings,
)
from ralo_core.options.benchmarks import BenchmarkSettings
from ralo_core.options.setting import setting

__all__ = [
    "BenchmarkSettings",
    "Config",
    "EvaluationSettings",
    "GenerationSettings",
    "LaunchSettings",
    "Layer",
    "LearnerSettings",
    "LocalStepsSettings",
    "LoraSettings",
    "PluginSettings",
    "PromptSettings",
    "RegularisationSettings",
    "RolloutsSettings",
    "RunSettings",
    "SamplerSettings",
    "ServerSettings",
    "TrainerSettings",
    "WeightsSettings",
    "environment_layer",
    "file_layer",
    "from_data",
    "resolve",
    "set_layer",
    "setting",
]
