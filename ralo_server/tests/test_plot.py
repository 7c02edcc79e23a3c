"""`ralo plot` draws what metrics.jsonl holds."""

import json

import matplotlib.axes
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ralo_core.errors import RaloError
from ralo_server.cli.plot import plot
from ralo_server.rundir.metrics_file import MINUTES, STEP, curve, read_metrics, smooth

ACCURACY = "eval/held_out/accuracy"


def write_run(folder, reward):
    """A run of eight steps; version 4 was evaluated after step 8."""
    rows = [
        {"step": n, "reward": n * reward, "elapsed_seconds": 6.0 * n, "entropy": 2.0 / n}
        for n in range(1, 9)
    ]
    for version, value in ((8, 0.7), (4, 0.5)):
        bounds = {f"{ACCURACY}/low": value - 0.1, f"{ACCURACY}/high": value + 0.1}
        rows.append({"step": version, "elapsed_seconds": 6.0 * version, ACCURACY: value, **bounds})
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text + '{"step": 9, "rew')
    return folder


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / "a", 0.1), write_run(tmp_path / "b", 0.2)]


@pytest.fixture
def drawn(monkeypatch):
    """Collects (label, x, y) of what is plotted."""
    lines, draw = [], matplotlib.axes.Axes.plot

    def noting(axes, x, y, *arguments, **options):
        lines.append((options.get("label"), list(x), list(y)))
        return draw(axes, x, y, *arguments, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", noting)
    return lines


def invoke(*arguments):
    return CliRunner().invoke(plot, list(map(str, arguments)), catch_exceptions=False)


def test_the_reward_and_the_accuracy_of_several_runs_are_one_picture(runs, tmp_path, drawn):
    target = tmp_path / "reward.png"
    assert invoke(*runs, "-o", target).output == f"wrote {target}\n"
    assert target.read_bytes().startswith(b"\x89PNG")
    labels = [label for label, _, _ in drawn if label]
    assert labels == ["a: reward", f"a: {ACCURACY}", "b: reward", f"b: {ACCURACY}"]
    minutes, accuracy = next((x, y) for label, x, y in drawn if label == f"b: {ACCURACY}")
    assert (minutes, accuracy) == ([0.4, 0.8], [0.5, 0.7]), "each where its version was made"


def test_chosen_metrics_have_panels_of_their_own(runs, tmp_path, drawn):
    target = tmp_path / "two.svg"
    chosen = ("--metric", "entropy", "--metric", "reward", "--x", "step", "--smoothing", "0")
    invoke(*runs, "-o", target, *chosen)
    assert "<svg" in target.read_text()
    steps = list(range(1, 9))
    assert [(label, x) for label, x, _ in drawn] == [(name, steps) for name in "abab"]
    assert drawn[0][2] == [2.0 / n for n in steps]
    assert drawn[3][2] == pytest.approx([0.2 * n for n in steps])


def test_what_cannot_be_drawn_is_named(runs, tmp_path):
    with pytest.raises(RaloError, match="'entrop'.*entropy"):
        invoke(*runs, "--metric", "entrop")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(RaloError, match="no optimizer step"):
        invoke(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(RaloError, match="line 2 is no JSON"):
        invoke(tmp_path)
    with pytest.raises(RaloError, match="does not exist"):
        invoke(tmp_path / "nowhere")


def test_an_interval_is_read_with_its_value(runs):
    found = curve(read_metrics(runs[0]), ACCURACY, STEP)
    assert (found.x, found.y) == ([4, 8], [0.5, 0.7])
    assert found.low == pytest.approx([0.4, 0.6])
    assert found.high == pytest.approx([0.6, 0.8])
    assert curve(read_metrics(runs[0]), "unknown", MINUTES) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.0, 0.999))
def test_smoothing_stays_within_the_values_so_far(values, weight):
    slack = 1e-6 * max(1.0, *map(abs, values))
    for count, value in enumerate(smooth(values, weight), 1):
        assert min(values[:count]) - slack <= value <= max(values[:count]) + slack


def test_smoothing_keeps_a_constant_and_without_weight_everything():
    assert smooth([0.5] * 6, 0.9) == pytest.approx([0.5] * 6)
    assert smooth([0.0, 1.0, 0.0], 0.0) == [0.0, 1.0, 0.0]
