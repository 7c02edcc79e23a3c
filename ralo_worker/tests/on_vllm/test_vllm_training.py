"""``ralo run`` with the vllm engine: the embedded model, real processes, accuracy rises."""

import json
import subprocess
import sys

import pytest

MINUTES = 5
SETTINGS = [
    "engine.use=vllm",
    f"engine.vllm.engine_args.kv_cache_memory_bytes={2**28}",
    f"run.max_minutes={MINUTES}",
    "evaluation.every_steps=20",
    "trainer.threads=1",
]


@pytest.mark.training
def test_accuracy_rises_with_treepo_on_vllm(tmp_path):
    command = [sys.executable, "-m", "ralo_core.cli.main", "run", "--plain", "--plugin", "treepo"]
    command += ["--run-dir", str(tmp_path / "run")]
    for setting in SETTINGS:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * (MINUTES + 10))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    accuracies = [row["accuracy"] for row in rows if "accuracy" in row]
    print(f"held-out greedy accuracy: {accuracies}")
    assert len(accuracies) >= 2
    assert accuracies[-1] > accuracies[0] + 0.1, accuracies
