"""`ralo plot` draws what metrics.jsonl holds."""

import json

import pytest
from click.testing import CliRunner

from ralo_core.errors import RaloError
from ralo_server.cli.plot import plot, smooth


@pytest.fixture
def run_dir(tmp_path):
    rows = [
        {"step": n, "reward": n / 10, "elapsed_seconds": 6.0 * n, "rollouts": 8}
        for n in range(1, 9)
    ]
    rows.append({"step": 8, "eval/held_out/accuracy": 0.7, "elapsed_seconds": 48.0, "version": 8})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text)
    return tmp_path


def test_a_picture_is_written_for_one_run_and_for_several(run_dir, tmp_path):
    for runs in ([str(run_dir)], [str(run_dir)] * 2):
        target = tmp_path / "reward.png"
        done = CliRunner().invoke(plot, [*runs, "-o", str(target)], catch_exceptions=False)
        assert done.output == f"wrote {target}\n"
        assert target.read_bytes().startswith(b"\x89PNG")
        target.unlink()


def test_a_run_without_steps_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(RaloError, match="no optimizer step"):
        CliRunner().invoke(plot, [str(tmp_path)], catch_exceptions=False)


def test_smoothing_keeps_a_constant_and_stays_within_the_values():
    assert smooth([0.5] * 6) == pytest.approx([0.5] * 6)
    values = smooth([0.0, 1.0, 0.0, 1.0])
    assert len(values) == 4
    assert all(0.0 <= value <= 1.0 for value in values)
