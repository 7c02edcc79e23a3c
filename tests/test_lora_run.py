"""A LoRA run end to end: real processes, a learner that is killed, and what peft says of it all."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from served_run import ServedRun
from transformers import AutoModelForCausalLM

from ralo_core import BuildContext, GenerationRequest
from ralo_worker.engines.transformers.engine import TransformersEngine
from ralo_worker.engines.transformers.settings import TransformersSettings

STEPS, RANK = 20, 4
SETTINGS = (
    f"run.max_steps={STEPS}", f"lora.rank={RANK}", "optimizer.adamw.lr=0.01",
    "trainer.batch_trees=4", "server.queued_trees=8", "sampler.problems_in_flight=4",
    "evaluation.problems=0", "sampler.threads=1", "trainer.threads=1",
    "learner.keep_last_versions=20", "server.port=0", "regularisation.kl=0.01",
    "reward.pipeline=['function']", "reward.function.path=telling:digits",
)  # fmt: skip


def ralo(*arguments, cwd):
    command = [sys.executable, "-m", "ralo_core.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose learner was killed with -9 after its second step, and its cache of weights."""
    root = tmp_path_factory.mktemp("lora")
    ralo("model", "tiny", "model", "--warmup-steps", "0", cwd=root)
    (root / "telling.py").write_text(
        "def digits(problem, answers):\n"
        "    return [sum(map(str.isdigit, a.text)) / a.tokens for a in answers]\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALO_CACHE", str(root / "cache"))
        patch.chdir(root)
        run = ServedRun(root, f"run.model={root / 'model'}", *SETTINGS)
        try:
            for role in ("sample", "train"):
                run.start(role, "--server", run.url)
            run.wait_for(lambda: run.stats().step >= 2)
            os.kill(learner_of(run), signal.SIGKILL)
            run.wait_for(lambda: run.stats().state == "finished" or None)
        finally:
            run.close()
    return run


def learner_of(run):
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    )
    marker = f"ralo_server.learner {run.directory}"
    (pid,) = [int(line.split()[0]) for line in listing.stdout.splitlines() if marker in line]
    return pid


@pytest.fixture(scope="module")
def exports(finished):
    """The last version as ``ralo export`` gives it: merged, and the adapter alone."""
    for name in ("merged", "adapter"):
        arguments = (str(finished.directory), "-o", name, f"--{name}")
        ralo("export", *arguments, cwd=finished.root)
    return finished.root / "merged", finished.root / "adapter"


def version(run, number):
    return run.directory / "weights" / f"v{number:06d}"


@pytest.mark.slow
def test_the_run_goes_on_after_kill_9_and_changes_nothing_but_the_adapter(finished):
    rows = (finished.directory / "metrics.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, rows) if "grad_norm" in row]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert "is taken again" in (finished.directory / "logs" / "learner.log").read_text()
    assert steps[0]["reference_kl"] == 0, "the reference is the base, which is what version 0 is"
    assert steps[-1]["reference_kl"] > 0
    tensors = load_file(version(finished, STEPS) / "adapter_model.safetensors")
    ups = [value for name, value in tensors.items() if "lora_B" in name]
    assert ups
    assert all(up.any() for up in ups)
    base = (finished.root / "model" / "model.safetensors").read_bytes()
    assert (version(finished, STEPS) / "model.safetensors").read_bytes() == base


@pytest.mark.slow
def test_what_is_sent_is_as_large_as_the_adapter(finished):
    whole = (finished.root / "model" / "model.safetensors").stat().st_size
    adapter = (version(finished, 1) / "adapter_model.safetensors").stat().st_size
    assert adapter < whole / 20
    gradients = list((finished.directory / "gradients").glob("*.safetensors"))
    assert gradients
    assert max(file.stat().st_size for file in gradients) < adapter + 2000
    held = [*finished.root.glob("cache/weights/*/v*/model.safetensors")]
    assert len({file.stat().st_ino for file in held}) == 1, "fetched once, by one of the workers"
    new = [entry for log in finished.root.glob("sample-*.log") for entry in fetched_by(log)]
    assert new
    assert max(new) < adapter + 2000


def fetched_by(log):
    lines = [line for line in log.read_text().splitlines() if " bytes fetched" in line]
    return [int(line.split(" bytes fetched")[0].split()[-1]) for line in lines]


@pytest.mark.slow
def test_peft_opens_the_adapter_and_agrees_with_the_engine(finished, exports):
    base = AutoModelForCausalLM.from_pretrained(finished.root / "model", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, exports[1]).eval()
    context = BuildContext(role="sampler", model_dir=version(finished, STEPS))
    engine = TransformersEngine(TransformersSettings(), context)
    request = GenerationRequest(prompt=(5, 6, 7), max_tokens=24)
    (done,) = asyncio.run(engine.generate([request]))
    asyncio.run(engine.close())
    tokens = torch.as_tensor(done.tokens).long()
    with torch.no_grad():
        logits = adapted(torch.tensor([[*request.prompt, *done.tokens]])).logits[0, 2:-1]
    expected = logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]
    assert np.abs(done.logprobs - expected.numpy()).max() < 1e-4


@pytest.mark.slow
def test_the_merged_export_is_pefts(finished, exports):
    base = AutoModelForCausalLM.from_pretrained(finished.root / "model", dtype=torch.float32)
    expected = PeftModel.from_pretrained(base, exports[1]).merge_and_unload().state_dict()
    merged = AutoModelForCausalLM.from_pretrained(exports[0], dtype=torch.float32)
    assert not hasattr(merged, "peft_config")
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
