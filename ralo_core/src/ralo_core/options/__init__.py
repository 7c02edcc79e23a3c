"""What a settings class of a component is made of: `setting`, validators, `BenchmarkSettings`.

It is the ground under the configuration: protocols, data types and plugins use it without the
machinery of layers and sections, which is in `ralo_core.config`.
"""

from ralo_core.options.benchmarks import BenchmarkSettings
from ralo_core.options.checks import (
    at_least,
    between,
    capital_letters,
    one_of,
    positive,
    regex,
)
from ralo_core.options.setting import setting, with_default

__all__ = [
    "BenchmarkSettings",
    "at_least",
    "between",
    "capital_letters",
    "one_of",
    "positive",
    "regex",
    "setting",
    "with_default",
]
