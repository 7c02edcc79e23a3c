"""The conformance kit: a plugin author's component, checked against the contract of its kind.

    from ralo_core.testing import check_component

    def test_my_reward_keeps_the_contract():
        check_component("reward", "shout")

`check_component` builds an installed component through the registry, as a run does. The function
that checks the objects of a kind, for example `check_reward`, is here under its own name; the
table of `ralo_core.kinds` has all of them. What is wrong is an `AssertionError` with a sentence
that says what the contract asks. pytest is not needed, torch only for losses and optimizers.

`structure` makes the settings of a component out of plain data, as the config does.
"""

from typing import Any

from ralo_core.kinds import KINDS
from ralo_core.registry import load_object
from ralo_core.structuring import structure
from ralo_core.testing.components import check_component
from ralo_core.testing.fake_engine import FakeEngine
from ralo_core.testing.sampling import ScriptedEngine
from ralo_core.testing.trees import random_tree

_CHECKERS = {
    kind.checker.partition(":")[2]: kind.checker for kind in KINDS.values() if kind.checker
}

__all__ = ["FakeEngine", "ScriptedEngine", "check_component", "random_tree", "structure"]
__all__ += list(_CHECKERS)


def __getattr__(name: str) -> Any:
    """Return the checker that is called `name`, imported now: a kind has no second list here."""
    if name not in _CHECKERS:
        msg = f"module {__name__} has no attribute {name!r}"
        raise AttributeError(msg)
    return load_object(_CHECKERS[name])
