"""docs/metrics.md lists what a real run logs, all of it and nothing else."""

import json
import re
from pathlib import Path

import pytest
from test_training_run import ralo, run_options

PAGE = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
RECORDS = PAGE.partition("## Trackers")[0]

NOT_IN_THIS_RUN = {"behaviour_weight", "rollback_to"}
"""Of another loss, and of a rollback."""


def documented():
    """Return the names in the first column of the tables of records."""
    rows = re.findall(r"^\| (`.*?`) \|", RECORDS, flags=re.M)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def pattern(name):
    """Return the expression that the names meant by a documented one match."""
    parts = re.split(r"<\w+>", name)
    return re.compile(".+".join(map(re.escape, parts)))


def test_no_name_is_documented_twice():
    names = documented()
    assert len(names) > 50
    assert sorted(set(names)) == sorted(names)


def test_every_row_says_unit_meaning_and_origin():
    for row in re.findall(r"^\| `.*$", RECORDS, flags=re.M):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4
        assert all(cells), row


@pytest.mark.slow
def test_a_run_logs_what_is_documented_and_nothing_else(model, tmp_path, own_reward):
    run_dir = tmp_path / "run"
    settings = (
        "run.max_steps=3", "loss.use=clip", "correction.pipeline=['m2po']",
        "regularisation.kl=0.05", "regularisation.entropy=0.01", "evaluation.every_steps=1",
        *own_reward,
    )  # fmt: skip
    ralo(*run_options(model, run_dir, "treepo", *settings))
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    logged = {name for row in rows for name in row}
    patterns = {name: pattern(name) for name in documented()}
    unknown = {name for name in logged if not any(p.fullmatch(name) for p in patterns.values())}
    assert not unknown
    never = {name for name, p in patterns.items() if not any(map(p.fullmatch, logged))}
    assert never == NOT_IN_THIS_RUN
