"""A run with a long history and its real web process, made without training anything.

Steps, trees, batches and versions come through
the store's own functions; only what they hold is made up.
"""

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ralo_core import PROMPT, TreeBuilder, wire
from ralo_core.config import resolve, set_layer
from ralo_core.data import WeightFile, WeightVersion
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.cli.serve import listen
from ralo_server.preparation import make_provider, prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_server.store.problems import ProblemSource
from ralo_server.store.step_log import StepLog

TREES, LEAVES, SEGMENT_TOKENS, DEPTH = 500, 8, 64, 4
PARTS = 40
SETTINGS = (
    "trainer.batch_trees=16", "server.queued_trees=1024", "evaluation.problems=0",
    "server.min_free_mb=0", "run.seed=1",
)  # fmt: skip


@attrs.define
class LongRun:
    """A run below `root` with so many `steps`; `start` serves it."""

    root: Path
    steps: int
    store: Store = attrs.field(init=False)
    url: str = attrs.field(default="", init=False)
    _process: subprocess.Popen[bytes] = attrs.field(init=False)

    def make(self) -> "LongRun":
        """Make the run directory and its history."""
        model = self.root / "model"
        model.mkdir()
        save_file({"w": np.zeros((4, 4), np.float32)}, model / "model.safetensors")
        (model / "config.json").write_text("{}")
        _byte_tokenizer().save(str(model / "tokenizer.json"))
        config = resolve(
            [set_layer([f"run.model={model}", *SETTINGS])], Registry(PluginHost().load())
        )
        directory = RunDirectory(self.root / "run")
        prepare(directory, config, "benchmark")
        self.store = Store(directory, config)
        self._publish(0)
        batches = self._sample()
        for step in range(1, self.steps + 1):
            # The last steps took the trees that there are.
            first = max(0, len(batches) - 1 - (self.steps - step))
            taken = batches[first : first + 1] if step > self.steps - len(batches) else []
            self.commit(step, taken)
            if step % 100 == 0:
                self.store.versions.prune(3)
        return self

    def commit(self, step: int, batches: list[str] | None = None) -> None:
        """Commit a step that took some batches without a gradient."""
        self.store.steps.commit(
            StepLog(step=step, weighted_gradients=(), learning_rate=1e-6, clip=1.0),
            _version(step), (), (),
            batches or [], (), _metrics(step), (),
        )  # fmt: skip

    def start(self) -> None:
        """Start ``python -m ralo_server.web`` on a port of this machine and wait for it."""
        directory, listener = self.store.directory, listen("127.0.0.1", 0)
        command = [sys.executable, "-m", "ralo_server.web", str(directory.root)]
        with (directory.logs / "web.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(listener.fileno())], stdout=log, stderr=log,
                pass_fds=[listener.fileno()],
            )  # fmt: skip
        while not directory.url_file.exists():
            time.sleep(0.1)
        self.url = directory.url_file.read_text().strip()

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the processor time that the web processes have taken."""
        ticks, master = 0, self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (str(master), *children):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _publish(self, number: int) -> None:
        directory = self.store.versions.directory(number)
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_text(json.dumps({"tensors": {}}))
        self.store.steps.commit_first(_version(number), ())

    def _sample(self) -> list[str]:
        """Put trees into the store and close a batch of each 16; return the batches."""
        store, batches = self.store, []
        source = ProblemSource(lambda: make_provider(store.config))
        for problem, lease, _ in store.problems.lease("w", TREES, source):
            tree = _tree(problem["id"], lease)
            store.trees.add(lease, tree, wire.pack_tree(tree))
        while batch := store.trees.lease_batch("w", 16, True):
            store.leases.release("w", [batch.id], "empty", "")
            batches.append(batch.id)
        return batches


def _version(number: int) -> WeightVersion:
    file = WeightFile(name="model.safetensors", size=1, sha256=f"{number:064x}")
    return WeightVersion(
        number=number, parent=number - 1 if number else None, sha256=file.sha256, files=(file,),
        created=time.time(),
    )  # fmt: skip


def _metrics(step: int) -> Mapping[str, float]:
    rng = random.Random(step)  # noqa: S311 (nothing secret)
    main = {
        name: rng.random()
        for name in (
            "loss", "entropy", "clip_fraction", "mismatch_kl", "grad_norm", "staleness", "ess",
            "sequence_ess", "ratio_p01", "ratio_p50", "ratio_p99", "response_tokens",
            "decoded_tokens", "sharing_ratio", "used_token_share", "step_seconds",
        )
    }  # fmt: skip
    parts = {f"part/{number}": rng.random() for number in range(PARTS)}
    return {
        "step": step, "version": step, "time": time.time(), "elapsed_seconds": 3.0 * step,
        "tokens": 50_000, "rollouts": 128, "trees": 16, "reward": 1 - math.exp(-step / 3000),
        "learning_rate": 1e-6, **main, **parts,
    }  # fmt: skip


def _tree(problem_id: str, lease_id: str) -> "object":
    rng = np.random.default_rng(abs(hash(problem_id)) % 2**32)
    builder = TreeBuilder(problem_id, list(range(40)), lease_id=lease_id)
    ends = [PROMPT]
    for _ in range(DEPTH):
        ends = [
            builder.add_segment(
                end, rng.integers(0, 255, SEGMENT_TOKENS), -rng.random(SEGMENT_TOKENS), 0
            )
            for end in ends
            for _ in range(2 if len(ends) < LEAVES else 1)
        ]
    for end in ends:
        builder.add_leaf(end, "eos")
    rewards = rng.integers(0, 2, len(ends)).astype(np.float32)
    return builder.build().with_rewards({"math": rewards}, rewards)


def _byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={character: index for index, character in enumerate(alphabet)}, merges=[])
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
