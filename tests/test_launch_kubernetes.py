"""The manifests of ``ralo launch kubernetes``: what they say, and that YAML reads it back."""

import json
import subprocess
import tomllib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_run import ralo

from ralo.launch.toml_text import to_toml
from ralo.launch.yaml_text import to_yaml
from ralo_core.access import ROLES, read_tokens
from ralo_core.config import resolve, set_layer
from ralo_core.config.layers import Layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["yes", "null", "1", "- a", "a: b", "x\n", "x\ny\n", " x\n", "\n", "x\n\n", "a\n\n b\n"]
)
PLAIN = st.recursive(
    TEXT | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(PLAIN, min_size=1, max_size=3))
def test_what_is_written_as_yaml_is_read_back(documents):
    assert list(yaml.safe_load_all(to_yaml(documents))) == documents


def manifests(*settings, recipe="grpo"):
    assignments = [part for text in ("run.model=/models/m", *settings) for part in ("--set", text)]
    text = ralo("launch", "kubernetes", "--plugin", recipe, *assignments)
    return list(yaml.safe_load_all(text))


def find(documents, kind, name):
    (found,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def container_of(document):
    (container,) = document["spec"]["template"]["spec"]["containers"]
    return container


SETTINGS = (
    "launch.samplers.count=3", "launch.samplers.gpus=1", "launch.samplers.memory_gb=64",
    "launch.samplers.environment={HF_HOME='/hf'}", "launch.trainers.count=2",
    "launch.trainers.nodes=2", "launch.trainers.processes=8", "launch.trainers.gpus=8",
    "launch.trainers.cpus=4", "launch.orchestrator.cpus=6", "launch.kubernetes.image=lab/ralo:1",
    "launch.kubernetes.storage_gb=500", "launch.kubernetes.storage_class=fast",
    "launch.kubernetes.secret=mine", "loss.clip.clip_high=0.3", "trainer.batch_trees=8",
)  # fmt: skip


def test_every_object_is_there_and_points_at_the_others():
    documents = manifests(*SETTINGS)
    kinds = [(d["kind"], d["metadata"]["name"]) for d in documents]
    assert kinds == [
        ("ConfigMap", "ralo-config"), ("PersistentVolumeClaim", "ralo-run"), ("Service", "ralo"),
        ("StatefulSet", "ralo-orchestrator"), ("Deployment", "ralo-sampler"),
        ("Service", "ralo-trainer-0"), ("StatefulSet", "ralo-trainer-0"),
        ("Service", "ralo-trainer-1"), ("StatefulSet", "ralo-trainer-1"),
    ]  # fmt: skip
    assert not any("namespace" in d["metadata"] for d in documents)
    for document in documents:
        spec = document.get("spec", {})
        if "template" not in spec:
            continue
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        if document["kind"] == "StatefulSet":
            service = find(documents, "Service", spec["serviceName"])
            assert service["spec"]["selector"] == labels
        pod = spec["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["image"] == "lab/ralo:1"
            for variable in container["env"]:
                reference = variable.get("valueFrom", {"secretKeyRef": {"name": "mine"}})
                assert reference["secretKeyRef"]["name"] == "mine"


def test_the_settings_arrive():
    documents = manifests(*SETTINGS)
    volume = find(documents, "PersistentVolumeClaim", "ralo-run")["spec"]
    assert volume["resources"]["requests"]["storage"] == "500G"
    assert volume["storageClassName"] == "fast"
    sampler = find(documents, "Deployment", "ralo-sampler")
    assert sampler["spec"]["replicas"] == 3
    container = container_of(sampler)
    assert container["resources"]["limits"] == {"cpu": 2, "memory": "64G", "nvidia.com/gpu": 1}
    assert {"name": "HF_HOME", "value": "/hf"} in container["env"]
    (token,) = [v for v in container["env"] if v["name"] == "RALO_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "sampler"}
    trainer = find(documents, "StatefulSet", "ralo-trainer-1")
    assert trainer["spec"]["replicas"] == 2
    container = container_of(trainer)
    assert container["resources"]["limits"] == {"cpu": 32, "nvidia.com/gpu": 8}
    assert container["command"] == [
        "ralo", "train", "--server", "http://ralo:59888", "--nproc", "8", "--nnodes", "2",
        "--rdzv-endpoint", "ralo-trainer-1-0.ralo-trainer-1:29400", "--rdzv-id", "ralo-trainer-1",
    ]  # fmt: skip
    headless = find(documents, "Service", "ralo-trainer-1")["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)


def test_the_orchestrator_is_ready_when_it_answers_and_has_the_config_and_the_tokens():
    documents = manifests(*SETTINGS)
    server = find(documents, "StatefulSet", "ralo-orchestrator")
    container = container_of(server)
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": "ralo"}
    (port,) = container["ports"]
    assert find(documents, "Service", "ralo")["spec"]["ports"] == [
        {"name": "ralo", "port": port["containerPort"]}
    ]
    text = find(documents, "ConfigMap", "ralo-config")["data"]["config.toml"]
    written = tomllib.loads(text)
    assert written["trainer"]["batch_trees"] == 8
    assert written["loss"]["clip"]["clip_high"] == 0.3
    script = server["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]
    assert "/runs/ralo/tokens.json" in script


def test_the_tokens_of_the_secret_become_the_tokens_of_the_run(tmp_path):
    server = find(manifests(), "StatefulSet", "ralo-orchestrator")
    command = server["spec"]["template"]["spec"]["initContainers"][0]["command"]
    command[-1] = command[-1].replace("/runs/", f"{tmp_path}/")
    secrets = {role: f"{role}-secret" for role in ROLES}
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", **secrets})
    assert read_tokens(tmp_path / "ralo") == secrets
    assert (tmp_path / "ralo" / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_pods_have_the_time_to_end_in_order():
    for document in manifests(*SETTINGS):
        if "template" in document.get("spec", {}):
            pod = document["spec"]["template"]["spec"]
            assert pod["terminationGracePeriodSeconds"] >= 75


def test_nothing_is_started_that_is_not_wished_for():
    documents = manifests("launch.samplers.count=0", "launch.trainers.count=0")
    assert [d["kind"] for d in documents][-1] == "StatefulSet"
    assert len(documents) == 4


@pytest.mark.parametrize("recipe", ["grpo", "treepo"])
def test_the_written_config_leads_to_the_same_config(recipe):
    registry = Registry(PluginHost().load())
    layers = [
        Layer("recipe", registry.recipe(recipe).defaults),
        set_layer([*SETTINGS, 'prompt.system="Say \\"x\\"\\n\\tä"', "reward.weights={}"]),
    ]
    config = resolve(layers, registry)
    again = resolve([Layer("file", tomllib.loads(to_toml(config)))], registry)
    assert json.dumps(again.data, sort_keys=True) == json.dumps(config.data, sort_keys=True)


def test_the_objects_are_valid_for_the_schemas_of_kubernetes():
    validator = pytest.importorskip("kubernetes_validate")
    for document in manifests(*SETTINGS):
        validator.validate(document, "1.30", strict=True)
