"""One training with TRL's GRPOTrainer on the demo's model and task, for `against_trl.py`.

    python benchmarks/contestants/trl_grpo.py MODEL TARGET SECONDS SNAPSHOTS

Saves snapshots and ``report.json`` in TARGET; the time that saving takes is not counted.
"""

import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ralo_core import BuildContext
from ralo_tasks.arithmetic import ArithmeticProvider, ArithmeticSettings, verify

PROBLEMS, GROUP, MAX_TOKENS = 32, 8, 32


def reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Return 1 for a right sum and 0 otherwise, like RALO's arithmetic reward."""
    texts = [item if isinstance(item, str) else item[0]["content"] for item in completions]
    return [float(verify(text, gold)) for text, gold in zip(texts, answer, strict=True)]


class Clock(TrainerCallback):
    """Counts training time, saves snapshots off the clock, stops when the time is up."""

    def __init__(self, target: Path, seconds: float, snapshots: int) -> None:
        self.target, self.limit = target, seconds
        self.marks = [seconds * (index + 1) / snapshots for index in range(snapshots)]
        self.saved: list[dict[str, Any]] = []
        self.counted = self.resumed = 0.0
        self.steps = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.resumed = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Count the step, save when a snapshot is due, stop when the time is up."""
        self.steps += 1
        elapsed = self.counted + time.perf_counter() - self.resumed
        if self.marks and elapsed >= self.marks[0]:
            self.counted = elapsed
            self.marks = [mark for mark in self.marks if mark > elapsed]
            name = f"step{self.steps:05d}"
            model.save_pretrained(self.target / name)
            self.saved.append({"seconds": elapsed, "name": name})
            self.resumed = time.perf_counter()
        control.should_training_stop = elapsed >= self.limit


def main() -> None:
    """Train and write the report."""
    model_dir, target, seconds, snapshots = sys.argv[1:5]
    clock = Clock(Path(target), float(seconds), int(snapshots))
    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    source = ArithmeticProvider(ArithmeticSettings(), BuildContext(role="cli", seed=0))
    rows = [
        {"prompt": [{"role": "user", "content": problem.prompt}], "answer": problem.answer}
        for problem in islice(source, 20_000)
    ]
    config = GRPOConfig(
        output_dir=str(clock.target),
        per_device_train_batch_size=PROBLEMS * GROUP,
        num_generations=GROUP,
        max_completion_length=MAX_TOKENS,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        temperature=1.0,
        beta=0.0,
        epsilon=0.2,
        epsilon_high=0.28,
        max_steps=1_000_000,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        logging_steps=1_000_000,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir),
        processing_class=tokenizer,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        callbacks=[clock],
    )
    trainer.train()
    total = clock.saved[-1]["seconds"] if clock.saved else clock.limit
    for row in clock.saved:
        tokenizer.save_pretrained(clock.target / row["name"])
    report = {
        "rollouts": clock.steps * PROBLEMS * GROUP,
        "seconds": total,
        "snapshots": clock.saved,
    }
    (clock.target / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
