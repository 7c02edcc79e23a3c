"""Every component of every distribution keeps the contract of its kind."""

import json

import pytest
import torch

from ralo_core.kinds import KINDS
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.testing import check_component

torch.set_num_threads(1)

REGISTRY = Registry(PluginHost(strict=True).load())
SETTINGS = {
    ("problem_provider", "arithmetic"): [{}, {"count": 30, "curriculum": 20, "terms_max": 5}],
    ("advantage_estimator", "treepo"): [{}, {"normalise": "subgroups"}, {"weighting": "size"}],
    ("advantage_estimator", "treepo_segment"): [{}, {"decay": 0.5, "normalise": "off"}],
    ("sampling_algorithm", "treepo"): [
        {},
        {"width": 7, "depth": 3, "segment_tokens": 5, "init_branch_max": 4},
        {"width": 5, "depth": 9, "segment_tokens": 2, "fallback": "restart"},
        {"width": 9, "depth": 4, "segment_tokens": 3, "branch": 3, "split": "entropy"},
    ],
    ("aggregator", "staleness_mean"): [{}, {"power": 0.5, "max_staleness": 1}],
    ("aggregator", "trimmed_mean"): [{}, {"trim": 0.0}, {"trim": 0.5}],
    ("optimizer", "adamw"): [
        {},
        {"schedule": "cosine", "warmup_steps": 5, "total_steps": 99, "weight_decay": 0.1},
        {"ess_scaling": "sqrt"},
    ],
    ("optimizer", "sgd"): [{}, {"momentum": 0.9, "nesterov": True, "max_grad_norm": 0.0}],
    ("optimizer", "lion"): [{}, {"ess_scaling": "linear"}],
    ("correction", "staleness"): [{}, {"most": 2, "power": 0.5}],
    ("correction", "m2po"): [{}, {"tau": 10.0}],
    ("benchmark", "arithmetic"): [{}, {"limit": 5, "seed": 1}, {"digits_max": 3, "terms_min": 2}],
    ("loss", "dppo"): [{}, {"tau": 0.0}],
    ("tracker", "wandb"): [{"mode": "offline", "tags": ["a", "b"], "group": "g"}],
    ("loss", "clip"): [
        {},
        {"dual_clip": 3.0, "clip_high": 0.2},
        {"average": "sequence"},
        {"average": "constant", "constant_tokens": 9},
    ],
}
NEED_MORE = {
    ("problem_provider", "jsonl"), ("problem_provider", "huggingface"), ("reward", "function"),
    *(("benchmark", name) for name in REGISTRY.entries("benchmark") if name != "arithmetic"),
    *(("inference_engine", name) for name in ("fake", "transformers", "vllm")),
}  # fmt: skip
CASES = [
    pytest.param(kind, name, settings, id=f"{kind}-{name}-{settings}")
    for kind, description in KINDS.items()
    if description.protocol is not None
    for name in REGISTRY.entries(kind)
    if (kind, name) not in NEED_MORE
    for settings in SETTINGS.get((kind, name), [{}])
]


@pytest.mark.parametrize(("kind", "name", "settings"), CASES)
def test_component(kind, name, settings):
    check_component(kind, name, settings, registry=REGISTRY)


@pytest.mark.parametrize("name", ["jsonl", "huggingface"])
def test_providers_of_files(name, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}+1", "answer": "{n + 1}"}}\n' for n in range(50)))
    settings = {"path": str(path), "held_out_items": 5, "epochs": 3}
    check_component("problem_provider", name, settings, registry=REGISTRY)


RECORD = {
    "problem": "1+1?", "question": "1+1?", "prompt": "1+1?", "Question": "1+1?", "answer": "#### 2",
    "final_answer": ["$2$"], "subject": "sums", "level": 1, "answer_type": "Numerical",
    "is_multiple_answer": False, "Correct Answer": "2", "Incorrect Answer 1": "1",
    "Incorrect Answer 2": "3", "Incorrect Answer 3": "4",
}  # fmt: skip
"""The fields of every built-in benchmark."""


@pytest.mark.parametrize("options", [{}, {"limit": 3, "seed": 2}])
@pytest.mark.parametrize("name", [name for kind, name in sorted(NEED_MORE) if kind == "benchmark"])
def test_benchmarks_of_data_sets(name, options, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(RECORD)}\n" * 9)
    check_component("benchmark", name, {"path": str(path), **options}, registry=REGISTRY)


@pytest.mark.parametrize("name", ["fake", "transformers"])
def test_an_inference_engine(name, tmp_path):
    """The `vllm` engine goes through the same in ralo_worker/tests/on_vllm."""
    from ralo_tasks.tiny_model.model import make_tiny_model

    make_tiny_model(tmp_path / "model", seed=0, warmup_steps=0)
    make_tiny_model(tmp_path / "other", seed=1, warmup_steps=0)
    check_component(
        "inference_engine", name, registry=REGISTRY,
        model_dir=tmp_path / "model", new_weights=tmp_path / "other",
    )  # fmt: skip


def test_a_function_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_reward.py").write_text(
        "def score(problem, responses):\n"
        "    return [float(response.text == problem.answer) for response in responses]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    check_component("reward", "function", {"path": "own_reward:score"}, registry=REGISTRY)
