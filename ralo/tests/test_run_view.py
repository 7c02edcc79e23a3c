"""What `ralo run` says about the state of a run."""

import io

import pytest
from rich.console import Console

from ralo.run import stats as stats_module
from ralo.run.stats import History
from ralo.run.summary import summary
from ralo.views.chart import chart
from ralo.views.sparkline import sparkline
from ralo.views.top import screen
from ralo.views.view import PlainView, clock, eta, panel, plain_line, status_view, tree_line
from ralo_core.messages.stats import Stats
from ralo_core.structuring import structure_reply

TREES = {
    "queued": 60, "leased": 32, "trained": 96, "failed": 0, "discarded": 0, "capacity": 64,
    "skipped": 0, "skipped_since_step": 0,
}  # fmt: skip
GRADIENTS = {
    "receiving": 0, "pending": 0, "left_out": 0, "abandoned": 0, "discarded": 0, "applied": 3,
    "refused": 0, "refused_by_reason": {},
}  # fmt: skip


def make_stats(**changes):
    """Return the stats of a run in which `changes` are otherwise, as a client gets them."""
    return structure_reply(document(**changes), Stats)


def document(**changes):
    stats = {
        "run": "r", "recipe": "treepo", "state": "running", "version": 3, "step": 3,
        "elapsed_seconds": 30.0, "started": 0.0, "model": "m",
        "limits": {"max_steps": 0, "max_minutes": 3.0},
        "problems": {"issued": 9, "waiting": 0, "leased": 4, "done": 5, "failed": 0, "total": None},
        "trees": TREES,
        "batches": {"leased": 1, "empty": 0},
        "gradients": GRADIENTS, "gradients_per_step": 1,
        "batch_trees": 32,
        "tokens": {"decoded": 1000, "trained": 900}, "rollouts": {"sampled": 80, "trained": 64},
        "workers": [worker("s", "sampler"), worker("t", "trainer")],
        "steps": [
            {"step": i, "version": i, "time": i, "reward": 0.1 * i, "staleness": 1.0}
            for i in (1, 2, 3)
        ],
        "evaluations": [
            result("aime24", 0, 0.1, "mean@4"), result("held_out", 0, 0.34),
            result("aime24", 3, 0.2, "mean@4"), result("held_out", 3, 0.6),
        ],
        "evaluation": {"waiting": 0, "leased": 0, "reported": 9},
        "trackers": {"jsonl": {"waiting": 0, "seconds": 0.0}},
        "bottleneck": "trainer-bound: the queue is full; add a trainer", "last_error": "",
    }  # fmt: skip
    return {**stats, **changes}


def result(benchmark, version, value, metric="accuracy"):
    return {
        "benchmark": benchmark, "version": version, "step": version, "items": 200, "samples": 1,
        "time": 0.0, "seconds": 1.0, "tokens": 9, "abandoned": False,
        "metrics": {metric: {"value": value, "low": value - 0.1, "high": value + 0.1}},
    }  # fmt: skip


def worker(name, role, working=0.0, waiting=0.0, **more):
    return {
        "id": name, "role": role, "host": "h", "version": 3, "seen_seconds_ago": 1.0, "alive": True,
        "state": "alive",
        "tokens": 10, "working_seconds": working, "waiting_seconds": waiting, **more,
    }  # fmt: skip


def engine(used, capacity=64):
    return {
        "capacity": capacity, "running": 40, "waiting": 2, "tokens_per_second": 1234.4,
        "utilisation": used, "cache_hits": 0.31, "decoded_tokens": 9, "prompt_tokens": 8,
        "cached_tokens": 4,
    }  # fmt: skip


@pytest.fixture
def ticking(monkeypatch):
    """A clock that advances by ten seconds at each reading of the history."""
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(stats_module.time, "monotonic", lambda: float(next(now)))


def history_of(*points):
    history = History()
    for point in points:
        history.add(point)
    return history


def drawn(stats):
    console = Console(file=io.StringIO(), width=160)
    console.print(panel(history_of(stats), 160))
    return console.file.getvalue()


def test_skipped_trees_are_shown_beside_the_queue_and_at_the_end(ticking, tmp_path):
    some = make_stats(trees={**TREES, "skipped": 1234})
    assert "queue 60/64 (1234 skipped)" in plain_line(history_of(some))
    assert "60/64 (1234 skipped)" in drawn(some)
    assert "skipped 1,234 trees" in "\n".join(summary(some, tmp_path, ["ralo"]))
    none = make_stats()
    assert "skipped" not in plain_line(history_of(none)) + drawn(none)
    assert not any(line.startswith("skipped") for line in summary(none, tmp_path, ["ralo"]))


def test_rates_are_differences_over_time(ticking):
    history = history_of(make_stats(), make_stats(tokens={"decoded": 2000, "trained": 0}, step=8))
    assert history.decoding_rate() == pytest.approx(100.0)
    assert history.step_rate() == pytest.approx(0.5)


def test_the_eta_is_the_nearest_limit(ticking):
    limits = {"max_steps": 18, "max_minutes": 3.0}
    history = history_of(make_stats(step=3), make_stats(step=8, limits=limits))
    assert eta(history) == "0:20"
    assert eta(history_of(make_stats())) == "2:30"


def test_a_rising_line_fills_its_chart_from_left_to_right():
    assert chart([0, 1, 2, 3], width=4, height=2) == ["  ▃█ 3.000", "▁▆██ 0.000"]


def test_many_values_are_averaged_into_the_columns():
    assert chart([0.0, 2.0, 4.0, 6.0], width=2, height=1) == ["▁█ 5.000"]


def test_panel_and_plain_line_name_what_the_user_looks_for(ticking):
    history = history_of(make_stats(), make_stats())
    console = Console(file=io.StringIO(), width=120)
    console.print(panel(history, 120))
    PlainView(console).show(history)
    text = console.file.getvalue()
    for word in (
        "reward",
        "version",
        "staleness",
        "60/64",
        "ETA 2:30",
        "held-out 60.0%",
        "aime24 mean@4 20.0% (v3)",
        "trainer",
    ):
        assert word in text


@pytest.mark.parametrize(
    "draw",
    [
        lambda console, stats: PlainView(console).show(history_of(stats)),
        lambda console, stats: console.print(panel(history_of(stats), console.width)),
        lambda console, stats: console.print(screen(history_of(stats), console)),
        lambda console, stats: console.print(status_view(stats)),
    ],
    ids=["ralo run --plain", "ralo run", "ralo top", "ralo status"],
)
def test_every_view_shows_the_sentence_of_the_server(ticking, draw):
    console = Console(file=io.StringIO(), width=160, height=50)
    draw(console, make_stats(bottleneck="upload-bound: as the server says it"))
    assert console.file.getvalue().count("upload-bound: as the server says it") == 1


def test_a_plain_view_says_the_sentence_again_when_it_is_another(ticking):
    console = Console(file=io.StringIO(), width=160)
    view = PlainView(console)
    for said in ("balanced: 1%", "balanced: 2%", "trainer-bound: 3%"):
        view.show(history_of(make_stats(bottleneck=said)))
    text = console.file.getvalue()
    assert [said in text for said in ("1%", "2%", "3%")] == [True, False, True]


def test_a_line_says_how_the_trees_of_the_last_step_grew(ticking):
    steps = document()["steps"]
    last = {
        **steps[-1], "leaf_depth_mean": 3.24, "sharing_ratio": 0.417, "zero_variance_share": 0.25,
        "response_tokens": 1234.4, "stop/eos": 0.2, "stop/boxed": 0.7, "stop/depth": 0.04,
        "stop/length": 0.06,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=120)
    console.print(panel(history_of(make_stats(steps=[*steps, last])), 120))
    assert (
        "trees 3.2 deep, 42% shared, 25% with equal rewards, 1,234 tokens a response; "
        "ended: boxed 70%, eos 20%, length 6%"
    ) in console.file.getvalue()
    assert "depth" not in console.file.getvalue()
    assert tree_line(make_stats()) == tree_line(make_stats(steps=[])) == ""


def test_a_line_says_how_a_samplers_engine_is_used(ticking):
    weights = {"last_pause_seconds": 0.254}
    workers = [
        worker("sampler-host.lab-12345", "sampler", engine=engine(0.972), weights=weights),
        worker("trainer-host.lab-12346", "trainer", weights=weights),
    ]
    history = history_of(make_stats(), make_stats(workers=workers))
    console = Console(file=io.StringIO(), width=80)
    console.print(panel(history, 80))
    lines = console.file.getvalue().splitlines()
    (sampler,) = (line.split() for line in lines if "sampler-host.lab-12345" in line)
    assert sampler[1:-1] == [
        "sampler-host.lab-12345", "sampler", "3", "1", "s", "1,234", "97%", "31%", "0.25", "s"
    ]  # fmt: skip
    (trainer,) = (line.split() for line in lines if "trainer-host.lab-12346" in line)
    assert trainer[-3:-1] == ["0.25", "s"]


def test_the_summary_says_what_was_reached_and_how_to_go_on(tmp_path):
    text = "\n".join(summary(make_stats(), tmp_path, ["ralo", "run", "--run-dir", "a b"]))
    assert "34.0% -> 60.0%" in text
    assert str(tmp_path / "weights" / "v000003") in text
    assert "ralo run --run-dir 'a b'" in text


def test_a_clock_shows_hours_only_when_there_are_any():
    assert (clock(59), clock(61), clock(3661)) == ("0:59", "1:01", "1:01:01")


def on_screen(stats, width, height, trouble=""):
    """Return the lines of ``ralo top`` in a terminal of this size."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    history = history_of(stats, stats) if stats else History()
    console.print(screen(history, console, trouble))
    return console.file.getvalue().splitlines()


def many_workers(count):
    gone = [worker(f"gone-{n}", "sampler", state="lost") for n in range(3)]
    here = [worker(f"sampler-host.lab-{n}", "sampler", engine=engine(0.5)) for n in range(count)]
    return [*({**w, "alive": False} for w in gone), *here]


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (160, 50)])
def test_the_screen_fits_its_terminal_and_says_what_is_looked_for(ticking, width, height):
    lines = on_screen(make_stats(workers=many_workers(64)), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    words = (
        "RALO r (treepo)",
        "running",
        "ETA 2:30",
        "reward",
        "staleness",
        "60/64",
        "aime24: mean@4",
    )
    assert [word for word in words if word not in text] == []
    assert ("reward per step" in text) == (height >= 36)
    shown = sum("sampler-host.lab" in line for line in lines)
    assert f"and {67 - shown} more workers" in text
    assert "gone-0" not in text, "those who are here come first"


def test_a_screen_without_news_says_why_and_keeps_what_it_had(ticking):
    assert on_screen(None, 80, 24, "no answer") == ["no answer"]
    lines = on_screen(make_stats(), 80, 24, "no answer for 7 s")
    assert lines[-1].rstrip() == "no answer for 7 s"
    assert any("trees queued 60/64" in line for line in lines)


def test_a_tracker_that_is_behind_is_shown_once_it_is_late(ticking):
    late = {"wandb": {"waiting": 12, "seconds": 90.4}, "jsonl": {"waiting": 1, "seconds": 0.1}}
    stats = make_stats(trackers=late)
    console = Console(file=io.StringIO(), width=160)
    console.print(status_view(stats))
    for text in (console.file.getvalue(), "\n".join(on_screen(stats, 80, 24))):
        assert "trackers behind: wandb by 12 records, 1:30" in text
        assert "jsonl" not in text


def test_a_sparkline_goes_from_the_smallest_to_the_largest_value():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 8, 8], 2) == "▁█"
    assert sparkline([3, 3, 3], 9) == "▁▁▁"
    assert sparkline([], 9) == sparkline([1.0], 0) == ""
