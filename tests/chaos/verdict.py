"""Whether a chaos run came through: all checks of it, and a report of what it went through.

The short test and the long form share it.
"""

import torch
from safetensors.torch import load_file

from chaos import audit, replay
from chaos.ledger import read_ledger


def judge(run, injuries, stats):
    """Raise `AssertionError` unless `run` lost nothing and counted nothing twice."""
    assert not injuries.failed_workers, f"workers failed by themselves: {injuries.failed_workers}"
    ledger = read_ledger(run.run_dir, run.journals)
    audit.check_trees(ledger)
    audit.check_gradients(ledger)
    audit.check_counters(ledger, stats)
    audit.check_files(run.run_dir)
    final = replay.final_weights(run.run_dir, stats.version)
    again = replay.replayed_weights(ledger, run.settings, run.folder / "replay")
    assert final.read_bytes() == again.read_bytes(), "a replay gives other weights"
    weights = load_file(final)
    for name, expected in replay.torch_weights(ledger, run.folder / "model").items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-5, atol=1e-6)


def report(injuries, stats):
    """Return what the run went through, as text."""
    trees, gradients = stats.trees, stats.gradients
    return "\n".join(
        [
            f"kills: {sum(injuries.kills.values())} {injuries.kills}",
            f"network: {injuries.network}",
            f"{stats.step} steps, {gradients.applied} gradients applied, "
            f"{gradients.abandoned} abandoned, {trees.trained} trees trained, "
            f"{stats.problems.failed} problems failed",
            f"ralo serve started again {injuries.restarts} times; {injuries.seconds:.0f} s",
            *(
                f"anonymous memory of {part}: at most {_most(sizes[: len(sizes) // 2])} MiB in the "
                f"first half of the run, {_most(sizes[len(sizes) // 2 :])} MiB in the second"
                for part, sizes in injuries.memory.items()
            ),
        ]
    )


def _most(sizes):
    return round(max(sizes, default=0.0))
