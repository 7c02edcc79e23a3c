"""Layers and resolution: who wins, what is refused, and that all faults are said at once."""

import attrs
import pytest

from ralo_core.config import (
    LearnerSettings,
    RunSettings,
    environment_layer,
    file_layer,
    from_data,
    resolve,
    set_layer,
)
from ralo_core.config.renamed import RENAMED, with_new_names, with_new_paths
from ralo_core.config.settings import FIXED
from ralo_core.errors import ConfigError
from ralo_core.kinds import SECTIONS
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry

REGISTRY = Registry(PluginHost().load())


def faults_of(*assignments):
    with pytest.raises(ConfigError) as caught:
        resolve([set_layer(assignments)], REGISTRY)
    return "\n".join(caught.value.faults)


def test_file_below_environment_below_set(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[run]\nname = "file"\nmax_steps = 1\nseed = 1\n')
    environment = {"RALO__RUN__MAX_STEPS": "2", "RALO__RUN__SEED": "2", "OTHER": "x"}
    layers = [file_layer(path), environment_layer(environment), set_layer(["run.seed=3"])]
    config = resolve(layers, REGISTRY)
    settings = config.section(RunSettings)
    assert (settings.name, settings.max_steps, settings.seed) == ("file", 2, 3)
    assert config.sources["run.name"] == str(path)
    assert config.sources["run.max_steps"] == "environment"
    assert config.sources["run.seed"] == "--set"
    assert config.sources["loss.use"] == "default"


def test_all_faults_are_said_at_once():
    faults = faults_of(
        "run.max_step=3", "run.seed='8'", "trainer.batch_trees=true", "lerner.threads=1",
        "learner.dtype=int8", "loss.use=klip", "server.queued_trees=0",
    )  # fmt: skip
    assert "run: unknown key 'max_step'; did you mean 'max_steps'" in faults
    assert "run.seed: expected int, got '8'" in faults
    assert "trainer.batch_trees: expected int, got True" in faults
    assert "[lerner]: unknown section; did you mean 'learner'" in faults
    assert "learner.dtype: must be one of 'bfloat16'" in faults
    assert "no loss is called 'klip'; did you mean 'clip'" in faults
    assert "server.queued_trees: must be above 0, got 0" in faults


def test_a_section_with_another_name_now_is_refused_with_the_new_one(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[evaluators]\npipeline = ["arithmetic"]\n')
    with pytest.raises(ConfigError) as caught:
        resolve([file_layer(path), set_layer(["evaluators.arithmetic.limit=3"])], REGISTRY)
    (fault,) = caught.value.faults
    assert fault == f"[evaluators] (from --set, {path}): it is called [benchmarks] now"
    with pytest.raises(ConfigError, match=r"\[evaluators\]: it is called \[benchmarks\] now"):
        from_data({"evaluators": {}}, REGISTRY, [])


def test_a_key_with_another_name_now_is_refused_with_the_new_one(monkeypatch):
    monkeypatch.setitem(RENAMED, "trainer.batch_size", "trainer.batch_trees")
    (fault,) = faults_of("trainer.batch_size=3").splitlines()
    assert fault == "trainer.batch_size (from --set): it is called trainer.batch_trees now"


@pytest.mark.parametrize("name", ["jsonl", "huggingface"])
def test_the_judge_of_a_benchmark_is_called_its_grader_now(name):
    fault = faults_of(f"benchmarks.{name}.judge='exact'")
    assert f"benchmarks.{name}.judge (from --set): it is called benchmarks.{name}.grader" in fault


def test_the_config_of_an_earlier_version_gets_the_names_of_today():
    earlier = {
        "run": {"seed": 1},
        "evaluators": {"pipeline": ["jsonl"], "jsonl": {"judge": "exact", "path": "a.jsonl"}},
    }
    today = {
        "run": {"seed": 1},
        "benchmarks": {"pipeline": ["jsonl"], "jsonl": {"grader": "exact", "path": "a.jsonl"}},
    }
    assert with_new_names(earlier) == with_new_names(today) == today
    assert with_new_names({"benchmarks": {"jsonl": {"judge": "math", "grader": "exact"}}}) == {
        "benchmarks": {"jsonl": {"grader": "exact"}}
    }
    sources = {"evaluators.jsonl.judge": "--set", "run.seed": "default"}
    today = {"benchmarks.jsonl.grader": "--set", "run.seed": "default"}
    assert with_new_paths(sources) == today


def test_what_is_called_otherwise_now_does_not_exist_under_its_old_name():
    for old, new in RENAMED.items():
        assert old.split(".")[0] not in SECTIONS or "." in old
        assert new.split(".")[0] in {*FIXED, *SECTIONS}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("reward.use=exact", "this section takes 'pipeline' instead"),
        ("loss.pipeline=['clip']", "this section takes 'use' instead"),
        ("reward.pipeline=exact", "expected a list of component names"),
        ("reward.weights.exact=1.0", "not in the pipeline"),
        ("reward.arithmetic.x=1", "the reward 'arithmetic' has no options"),
        ("run=3", "run"),
    ],
)
def test_a_section_used_wrongly_is_explained(assignment, message):
    assert message in faults_of(assignment)


@pytest.mark.parametrize("text", ["run.seed", "=3", "run.seed.deeper=1=2"])
def test_an_assignment_that_is_none_is_refused(text):
    with pytest.raises(ConfigError):
        resolve([set_layer([text])], REGISTRY)


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[run\n")
    with pytest.raises(ConfigError, match="bad.toml: not a TOML file"):
        file_layer(path)
    with pytest.raises(ConfigError, match="no such file"):
        file_layer(tmp_path / "absent.toml")


def test_values_are_toml_or_else_text():
    layer = set_layer(["a.b=1", "a.c=[1, 2]", "a.d=plain text", "a.e='8'", "a.f=true", "a.g=1e-4"])
    expected = {"b": 1, "c": [1, 2], "d": "plain text", "e": "8", "f": True, "g": 1e-4}
    assert layer.data == {"a": expected}


def test_weights_of_the_pipeline_default_to_one():
    assignments = ["reward.pipeline=['exact', 'format']", "reward.weights.format=0.2"]
    config = resolve([set_layer(assignments)], REGISTRY)
    assert config.data["reward"]["weights"] == {"exact": 1.0, "format": 0.2}


def test_a_config_survives_the_wire_and_needs_only_the_sections_of_a_role():
    config = resolve([set_layer(["learner.threads=3", "loss.clip.clip_high=0.4"])], REGISTRY)
    data = {**config.data, "sampling": {"use": "of_another_machine", "of_another_machine": {}}}
    again = from_data(data, REGISTRY, ["loss"])
    assert again.section(LearnerSettings).threads == 3
    assert again.data["loss"]["clip"]["clip_high"] == 0.4
    with pytest.raises(ConfigError, match="of_another_machine"):
        from_data(data, REGISTRY, ["sampling"])


def test_a_config_of_before_a_kind_has_the_default_of_its_section():
    data = {**resolve([], REGISTRY).data}
    before = data.pop("correction")
    assert from_data(data, REGISTRY, ["correction"]).data["correction"] == before


@pytest.mark.parametrize("cls", FIXED.values())
def test_every_key_has_a_help_text(cls):
    for field in attrs.fields(cls):
        assert field.metadata["help"], field.name
