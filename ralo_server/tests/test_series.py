"""Series are means over as many steps each, whenever and however often somebody asks."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ralo_server.store.database import Database
from ralo_server.store.views.shown_steps import ShownSteps, shown_numbers
from ralo_server.store.views.step_history import StepHistory

VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(math.inf), st.just(math.nan))


def add(database, first, steps):
    with database.write() as connection:
        for number, metrics in enumerate(steps, first):
            connection.execute(
                "INSERT INTO steps (step, metrics) VALUES (?, ?)", (number, json.dumps(metrics))
            )


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.fixed_dictionaries({}, optional={"a": VALUES, "b/c": VALUES}), max_size=80),
    cut=st.integers(0, 80), points=st.integers(1, 30), after=st.integers(-1, 90),
)  # fmt: skip
def test_a_series_is_the_mean_of_what_each_bucket_has(tmp_path_factory, values, cut, points, after):
    database = Database(tmp_path_factory.mktemp("series") / "state.db")
    history = StepHistory(database.rows)
    add(database, 1, values[:cut])
    history.series(["a"], points)  # what was read then must be as good as what is read later
    add(database, 1 + len(values[:cut]), values[cut:])
    found = history.series(["a", "b/c", "unknown"], points, after)
    asked = [step for step in range(1, len(values) + 1) if step > after]
    width = max(1, math.ceil(len(asked) / points))
    buckets = [asked[start : start + width] for start in range(0, len(asked), width)]
    assert len(buckets) <= points
    assert found.steps.tolist() == [bucket[-1] for bucket in buckets]
    assert found.last_step == len(values)
    for name, series in found.values.items():
        for bucket, value in zip(buckets, series, strict=True):
            known = [values[step - 1].get(name) for step in bucket]
            known = [number for number in known if number is not None and math.isfinite(number)]
            if known:
                assert value == pytest.approx(np.mean(known), rel=1e-9, abs=1e-6)
            else:
                assert math.isnan(value)
    assert history.names() == sorted({name for metrics in values for name in metrics})


def test_a_long_history_is_read_once(tmp_path):
    database = Database(tmp_path / "state.db")
    add(database, 1, [{"reward": step} for step in range(1, 1801)])
    read = []

    def rows(sql, *values):
        found = database.rows(sql, *values)
        read.extend(row["step"] for row in found)
        return found

    history = StepHistory(rows)
    for _ in range(3):
        found = history.series(["reward"], 400)
    add(database, 1801, [{"reward": 1801}])
    assert history.series(["reward"], 10, after=1800).values["reward"].tolist() == [1801.0]
    assert history.series(["reward"], 10, 1797, 1799).steps.tolist() == [1798, 1799]
    assert history.series(["reward"], 10, 1797, 1700).steps.tolist() == []
    assert read == list(range(1, 1802))
    assert len(found.steps) == 360
    assert found.values["reward"][0] == np.mean([1, 2, 3, 4, 5])


def test_what_is_asked_for_is_checked_and_what_is_answered_is_json(server):
    run = server()
    with run.store.database.write() as connection:
        for step in (1, 2):
            metrics = json.dumps({"reward": step / 3, "loss": math.nan})
            connection.execute("INSERT INTO steps (step, metrics) VALUES (?, ?)", (step, metrics))
    ask = {"names": "reward,loss,stop/eos", "points": 5}
    answer = run.http.simulate_get("/series", params=ask)
    assert json.loads(answer.text, parse_constant=pytest.fail) == {
        "last_step": 2, "steps": [1, 2],
        "series": {"reward": [0.333333, 0.666667], "loss": [None] * 2, "stop/eos": [None] * 2},
    }  # fmt: skip
    newer = run.http.simulate_get("/series", params={**ask, "after": 1}).json
    assert (newer["steps"], newer["last_step"]) == ([2], 2)
    for wrong in ({"points": 0}, {"points": "x"}, {"points": 10_001}, {"after": "y"},
                  {"after": 1 << 70}, {"names": ",".join(map(str, range(65)))}):  # fmt: skip
        refused = run.http.simulate_get("/series", params={**ask, **wrong})
        assert refused.status_code == 400, wrong
        assert refused.headers["content-type"] == "application/problem+json"


@given(last=st.integers(1, 100_000))
def test_at_most_200_steps_are_shown_evenly_with_the_first_and_the_last(last):
    shown = shown_numbers(last)
    assert len(shown) <= 200
    assert (shown[0], shown[-1]) == (1, last)
    gaps = np.diff(shown)
    assert (gaps > 0).all()
    assert last <= 200 or (gaps.max() == np.median(gaps) <= last / 90)


def test_steps_are_shown_as_they_are_however_the_run_goes_on(tmp_path):
    database = Database(tmp_path / "state.db")
    shown, newest = ShownSteps(database), 0
    assert shown.all() == []
    for more in (1, 198, 1, 1, 3, 250, 1):
        add(database, newest + 1, [{"step": newest + n, "a/b": n} for n in range(1, more + 1)])
        newest += more
        *steps, last = shown.all()
        assert [metrics["step"] for metrics in (*steps, last)] == shown_numbers(newest)
        assert last == {"step": newest, "a/b": more}
        assert not any("a/b" in metrics for metrics in steps)


def test_stats_have_the_steps_as_of_now(server):
    run = server()
    for number in (1, 2):
        add(run.store.database, number, [{"step": number, "loss": math.nan, "stop/eos": 1.0}])
        for _ in range(2):
            stats = run.http.simulate_get("/stats")
            assert stats.headers["content-type"] == "application/json"
            steps = json.loads(stats.text, parse_constant=pytest.fail)["steps"]
            *earlier, last = steps
            assert last == {"step": number, "loss": None, "stop/eos": 1.0}
            assert earlier == [{"step": 1, "loss": None}][: number - 1]
