"""The table of kinds is whole, and what is derived from it is what processes need."""

import pytest

import ralo_core
from ralo_core import hookspecs, testing
from ralo_core.config.resolve import DEFAULTS
from ralo_core.kinds import (
    CLI,
    KINDS,
    LEARNER,
    ORCHESTRATOR,
    SAMPLER,
    SECTIONS,
    TRAINER,
    sections_of,
)

COMPONENTS = [pytest.param(kind, id=kind.name) for kind in SECTIONS.values()]


def test_every_registration_hook_is_that_of_one_kind():
    hooks = [name for name in vars(hookspecs) if name.startswith("ralo_register_")]
    assert sorted(kind.hook for kind in KINDS.values()) == sorted(hooks)


@pytest.mark.parametrize("kind", COMPONENTS)
def test_a_kind_that_the_config_names_has_all_that_makes_a_kind(kind):
    assert kind.protocol is not None
    assert kind.default is not None
    assert set(kind.roles) <= {ORCHESTRATOR, LEARNER, SAMPLER, TRAINER}
    assert kind.roles
    assert kind.text


@pytest.mark.parametrize("kind", COMPONENTS)
def test_the_checker_of_a_kind_is_in_the_conformance_kit_and_named_after_it(kind):
    assert kind.checker.endswith(f":check_{kind.name}")
    assert f"check_{kind.name}" in testing.__all__
    assert callable(getattr(testing, f"check_{kind.name}"))


@pytest.mark.parametrize("kind", COMPONENTS)
def test_the_protocol_of_a_kind_is_importable_from_core_itself(kind):
    assert getattr(ralo_core, kind.protocol.__name__) is kind.protocol


def test_the_kit_has_no_checker_of_an_unknown_kind():
    with pytest.raises(AttributeError, match="check_nothing"):
        testing.check_nothing  # noqa: B018


def test_a_process_builds_the_sections_of_its_role():
    assert set(sections_of(ORCHESTRATOR)) == {"problems", "codec", "benchmarks"}
    assert set(sections_of(LEARNER)) == {"aggregation", "optimizer", "codec", "trackers"}
    assert set(sections_of(SAMPLER)) == {"sampling", "reward", "engine"}
    assert set(sections_of(TRAINER)) == {"advantage", "loss", "correction", "codec"}
    assert sections_of(CLI) == ()


def test_the_lowest_layer_of_the_config_names_the_default_of_every_section():
    assert DEFAULTS["loss"] == {"use": "clip"}
    assert DEFAULTS["reward"] == {"pipeline": ["arithmetic"]}
    assert DEFAULTS["correction"] == {"pipeline": []}
    assert set(DEFAULTS) == set(SECTIONS)
