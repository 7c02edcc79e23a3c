"""The conformance kit: a plugin author's component, checked against the contract of its kind.

    from ralo_core.testing import check_component

    def test_my_reward_keeps_the_contract():
        check_component("reward", "shout")

`check_component` builds an installed component through the registry, as a run does; the
``check_*`` functions take objects. What is wrong is an `AssertionError` with a sentence that
says what the contract asks. pytest is not needed, torch only for losses and optimizers.
"""

from ralo_core.testing.advantages import check_advantage_estimator
from ralo_core.testing.benchmarks import check_benchmark
from ralo_core.testing.codecs import check_gradient_codec
from ralo_core.testing.components import check_component
from ralo_core.testing.corrections import check_correction
from ralo_core.testing.engines import check_inference_engine
from ralo_core.testing.fake_engine import FakeEngine
from ralo_core.testing.losses import check_loss
from ralo_core.testing.policies import check_aggregation_policy, check_optimizer_policy
from ralo_core.testing.providers import check_problem_provider
from ralo_core.testing.rewards import check_reward
from ralo_core.testing.sampling import ScriptedEngine, check_sampling_algorithm
from ralo_core.testing.trackers import check_tracker
from ralo_core.testing.trees import random_tree

__all__ = [
    "FakeEngine",
    "ScriptedEngine",
    "check_advantage_estimator",
    "check_aggregation_policy",
    "check_component",
    "check_correction",
    "check_benchmark",
    "check_gradient_codec",
    "check_inference_engine",
    "check_loss",
    "check_optimizer_policy",
    "check_problem_provider",
    "check_reward",
    "check_sampling_algorithm",
    "check_tracker",
    "random_tree",
]
