"""The balance of a run that has ended: nothing acknowledged is lost, nothing counts twice.

Every check raises `AssertionError` naming what
is wrong.
"""

import json
from collections import Counter

from ralo_server.doctor.examination import examine
from ralo_server.rundir.directory import RunDirectory


def check_trees(ledger):
    """Every accepted tree was trained on in one batch, or still lies where its state says."""
    done = {lease for lease, state in ledger.problems.items() if state == "done"}
    assert ledger.trees_accepted <= done, f"lost: {ledger.trees_accepted - done}"
    assert done <= ledger.trees_sent.keys(), f"nobody sent {done - ledger.trees_sent.keys()}"
    uses = Counter(lease for batch in ledger.used() for lease in ledger.granted[batch])
    uses.update(lease for lease, state in ledger.trees.items() if state != "trained")
    assert uses.keys() == done, f"unaccounted for: {uses.keys() ^ done}"
    twice = [lease for lease, times in uses.items() if times > 1]
    assert not twice, f"used more than once: {twice}"


def check_gradients(ledger):
    """Every accepted gradient was applied in one step, for a batch that has no other."""
    committed = {u for u, (state, _) in ledger.gradients.items() if state == "applied"}
    assert ledger.gradients_accepted <= committed, f"lost: {ledger.gradients_accepted - committed}"
    applied = Counter(upload for step in ledger.steps.values() for upload, _ in step)
    assert applied == Counter(committed), "a gradient belongs to no step, or to two"
    batches = Counter(ledger.gradients[upload][1] for upload in committed)
    done = [batch for batch, state in ledger.batches.items() if state == "done"]
    assert batches == Counter(done), "a batch is done without a gradient, or has two"
    for upload in committed:
        sent = ledger.gradients_sent[upload]
        assert sent["leases"] == ledger.granted[sent["batch"]]


def check_counters(ledger, stats):
    """``/stats`` counts what the journals add up to."""
    done = [lease for lease, state in ledger.problems.items() if state == "done"]
    used = [lease for batch in ledger.used() for lease in ledger.granted[batch]]
    sent = ledger.trees_sent
    assert stats.problems.done == len(done)
    assert stats.trees.trained == len(used)
    assert stats.rollouts.sampled == sum(sent[lease]["leaves"] for lease in done)
    assert stats.tokens.decoded == sum(sent[lease]["tokens"] for lease in done)
    assert stats.gradients.applied == sum(map(len, ledger.steps.values()))
    assert stats.step == stats.version == len(ledger.steps) == max(ledger.steps)


def check_files(run_dir):
    """Every row has its file, every file its row, and each step its line of metrics."""
    found = [finding.what for finding in examine(RunDirectory(run_dir), running=False)]
    assert not found, found
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    steps = [line["step"] for line in lines if "grad_norm" in line]
    assert steps == list(range(1, len(steps) + 1))
