"""What share of its time a trainer computes, with and without overlap, over a link of 100 MB/s.

A real ``ralo serve`` with a random model, trees of random tokens handed in beside it, and one real
``ralo train`` of one thread whose whole traffic goes through a link that carries 100 MB/s each way.
The shares are those of the trainer's main thread, as it reports them itself (``trainer.phases``).
Link, orchestrator and trainer share this machine's cores.

    python benchmarks/trainer_overlap.py [SECONDS]
"""

import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, TreeBuilder
from ralo_core.client import Client
from ralo_tasks.tiny_model.tokenizer import make_tokenizer

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from served_run import ServedRun  # what the tests start real processes with
from slow_link import SlowLink

SPEED = 100_000_000
MAIN = ("waiting", "weights", "compute", "reduce", "upload")
LEAVES, TOKENS = 2, 100
SETTINGS = (
    "trainer.batch_trees=4", "trainer.threads=1", "server.queued_trees=32", "server.port=0",
    "evaluation.problems=0", "server.min_free_mb=0", "learner.deltas=false",
)  # fmt: skip


def main() -> None:
    """Print the shares without and with overlap."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 40.0
    print(f"{'overlap':8} {'computing':>9} {'gradients':>9}  shares of the main thread")
    counts = []
    for overlap in ("false", "true"):
        with tempfile.TemporaryDirectory() as folder:
            phases, accepted = measured(Path(folder), overlap, seconds)
        total = sum(phases.get(name, 0.0) for name in MAIN)
        shares = {name: phases.get(name, 0.0) / total for name in MAIN}
        busy = shares["compute"] + shares["reduce"]
        listing = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        print(f"{overlap:8} {busy:9.0%} {accepted:9}  {listing}", flush=True)
        counts.append(accepted)
    print(f"gradients with overlap / without: {counts[1] / counts[0]:.2f}")


def measured(folder: Path, overlap: str, seconds: float) -> tuple[Mapping[str, float], int]:
    """Return the seconds that a trainer's phases took in `seconds`, and the gradients accepted."""
    model = random_model(folder / "model")
    run = ServedRun(folder, f"run.model={model}", f"trainer.overlap={overlap}", *SETTINGS)
    link = SlowLink(int(run.url.rpartition(":")[2]), SPEED, both=True)
    stopping = threading.Event()
    feeder = threading.Thread(target=feed, args=(Client(run.url, "feeder"), stopping))
    feeder.start()
    try:
        run.start("train", "--server", link.url)
        run.wait_for(lambda: run.stats().step >= 2)
        before = state(run)
        time.sleep(seconds)
        after = state(run)
    finally:
        stopping.set()
        feeder.join()
        run.close()
        link.close()
    spent = {name: value - before[0].get(name, 0.0) for name, value in after[0].items()}
    return spent, after[1] - before[1]


def state(run: ServedRun) -> tuple[Mapping[str, float], int]:
    """Return the trainer's phases and the steps taken, one gradient each."""
    stats = run.stats()
    (trainer,) = [worker for worker in stats.workers if worker.role == "trainer"]
    return trainer.phases, stats.step


def random_model(directory: Path) -> Path:
    """Make a model of 18 M parameters, so that a gradient is 72 MB."""
    tokenizer = make_tokenizer()
    config = Qwen2Config(
        vocab_size=8192, hidden_size=384, intermediate_size=1536, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=6, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    made = Qwen2ForCausalLM(config)
    made.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    print(f"# {made.num_parameters() / 1e6:.0f} M parameters", file=sys.stderr)
    return directory


def feed(client: Client, stopping: threading.Event) -> None:
    """Keep the queue of trees full."""
    rng = np.random.default_rng(0)
    while not stopping.is_set():
        for leased in client.problems(4, wait=0.5) or ():
            builder = TreeBuilder(leased.problem.id, [1, 2, 3], lease_id=leased.lease_id)
            for _ in range(LEAVES):
                tokens = rng.integers(3, 8192, TOKENS)
                version = max(0, client.health().version)
                node = builder.add_segment(PROMPT, tokens, np.full(TOKENS, -9.0), version)
                builder.add_leaf(node, "eos")
            rewards = np.arange(LEAVES, dtype=np.float32)
            client.upload_tree(builder.build().with_rewards({}, rewards))


if __name__ == "__main__":
    main()
