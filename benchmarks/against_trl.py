"""RALO's whole loop against TRL's GRPOTrainer: same model, task, machine and rollouts per step.

Prints rollouts per second and held-out greedy accuracy over wall time for both, one after the
other in one run. Accuracy is measured afterwards on saved weights, outside both clocks.
TRL runs in one process with all cores; RALO runs its orchestrator, sampler and trainer.

    python benchmarks/against_trl.py [SECONDS] [RECIPE ...]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ralo_core import BuildContext
from ralo_tasks.arithmetic import ArithmeticProvider, ArithmeticSettings, verify

PROBLEMS, GROUP, MAX_TOKENS, HELD_OUT = 32, 8, 32, 200
SNAPSHOTS = 6


@attrs.frozen
class Outcome:
    """One contestant: its rollouts per second and its snapshots as (seconds, directory)."""

    name: str
    rollouts_per_second: float
    snapshots: list[tuple[float, Path]]


def provider() -> ArithmeticProvider:
    """Return the demo's problems."""
    return ArithmeticProvider(ArithmeticSettings(), BuildContext(role="cli", seed=0))


def accuracy(directory: Path) -> float:
    """Return the greedy accuracy of a saved model on the held-out problems."""
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    problems = provider().held_out(HELD_OUT)
    prompts = [render(tokenizer, problem.prompt) for problem in problems]
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    output = model.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
    )
    texts = tokenizer.batch_decode(
        output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
    )
    right = sum(verify(text, problem.answer) for text, problem in zip(texts, problems, strict=True))
    return right / len(problems)


def render(tokenizer: object, prompt: object) -> str:
    """Return the prompt text under the model's chat template."""
    return tokenizer.apply_chat_template(  # type: ignore[attr-defined,no-any-return]
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )


def run_trl(model: Path, seconds: float, work: Path) -> Outcome:
    """Train with TRL in a process of its own, as its users do."""
    script = Path(__file__).parent / "contestants" / "trl_grpo.py"
    target = work / "trl"
    subprocess.run(
        [sys.executable, str(script), str(model), str(target), str(seconds), str(SNAPSHOTS)],
        check=True,
    )
    report = json.loads((target / "report.json").read_text())
    snapshots = [(row["seconds"], target / row["name"]) for row in report["snapshots"]]
    return Outcome("TRL GRPOTrainer", report["rollouts"] / report["seconds"], snapshots)


def run_ralo(model: Path, recipe: str, seconds: float, work: Path) -> Outcome:
    """Train with ``ralo run`` and keep every version."""
    run_dir = work / f"ralo-{recipe}"
    settings = [
        f"run.model={model}",
        f"run.max_minutes={seconds / 60}",
        "learner.keep_last_versions=1000000",
        "evaluation.problems=0",
        # As the other side is told to: clipped ratio, token mean, clip-higher.
        "loss.use=clip",
        "correction.pipeline=[]",
        "loss.clip.average=token",
        "loss.clip.clip_high=0.28",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run(
        [
            "ralo",
            "run",
            "--plain",
            "--tiny",
            "--plugin",
            recipe,
            "--run-dir",
            str(run_dir),
            *options,
        ],
        check=True,
    )
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    steps = [step for step in map(json.loads, lines) if "rollouts" in step]
    # The run's clock starts when the first problem is handed out, as TRL's with its training.
    last = steps[-1]["elapsed_seconds"]
    rollouts = sum(step["rollouts"] for step in steps)
    wanted = [last * (index + 1) / SNAPSHOTS for index in range(SNAPSHOTS)]
    chosen = [min(steps, key=lambda step: abs(step["elapsed_seconds"] - at)) for at in wanted]
    snapshots = [
        (step["elapsed_seconds"], run_dir / "weights" / f"v{int(step['version']):06d}")
        for step in chosen
    ]
    return Outcome(f"RALO {recipe}", rollouts / last, snapshots)


def main() -> None:
    """Run all contestants and print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 80.0
    recipes = sys.argv[2:] or ["grpo", "treepo"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = work / "model"
        subprocess.run(["ralo", "model", "tiny", str(model)], check=True)
        outcomes = [run_trl(model, seconds, work)]
        for recipe in recipes:
            time.sleep(2)  # let the last one's processes go
            outcomes.append(run_ralo(model, recipe, seconds, work))
        print(f"\nbefore training: {accuracy(model):.1%} greedy on {HELD_OUT} held-out problems")
        base = outcomes[0].rollouts_per_second
        for outcome in outcomes:
            rate = outcome.rollouts_per_second
            print(f"{outcome.name}: {rate:.0f} rollouts/s ({rate / base:.2f} x TRL)")
            for at, directory in outcome.snapshots:
                print(f"  {at:6.1f} s  {accuracy(directory):.1%}")


if __name__ == "__main__":
    main()
