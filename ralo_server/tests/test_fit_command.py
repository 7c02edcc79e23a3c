"""`ralo fit` and ``GET /eval/fit`` on the results of a run directory."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from patience import PATIENCE

from ralo_core.errors import RaloError
from ralo_server.cli.fit import fit
from ralo_server.scaling.background import Fits
from ralo_server.scaling.law import Law
from ralo_server.store.law_points import measured, points

LAW = Law(A=0.8, R0=0.2, C_mid=40.0, B=1.5)
COMPUTE = np.geomspace(5.0, 900.0, 24)


def result(version, value):
    """Return a result in the shape of `/eval/results`."""
    accuracy = {"value": value, "low": value - 0.1, "high": value + 0.1}
    metrics = {"accuracy": accuracy, "pass@8": {**accuracy, "value": 0.5}}
    return {"version": version, "benchmark": "held_out", "metrics": metrics}


def put(database, version, compute, report):
    """Store a step, its version and a result of it; without `compute` none was counted."""
    metrics = {"version": version}
    if compute is not None:
        metrics["compute/working_seconds"] = compute
    with database.write() as connection:
        connection.execute(
            "INSERT INTO versions (number, step, body, state) VALUES (?, ?, '{}', 'pruned')",
            (version, version),
        )
        if version:
            connection.execute(
                "INSERT INTO steps (step, metrics) VALUES (?, ?)", (version, json.dumps(metrics))
            )
        store_result(connection, version, report)


def store_result(connection, version, report):
    connection.execute(
        """INSERT INTO evaluations (id, version, benchmark, state, report, plan)
           VALUES (?, ?, ?, 'reported', ?, '{}')""",
        (f"e{version}", version, report["benchmark"], json.dumps(report)),
    )


@pytest.fixture
def run(server):
    run = server()
    rng = np.random.default_rng(0)
    put(run.store.database, 0, None, result(0, 0.2))
    for version, compute in enumerate(COMPUTE, 1):
        value = float(LAW(compute)) + 0.005 * rng.standard_normal()
        put(run.store.database, version, float(compute), result(version, value))
    return run


def ralo_fit(run, *arguments):
    command = [str(run.directory.root), *arguments]
    return CliRunner().invoke(fit, command, catch_exceptions=False).output


def test_points_are_compute_and_value_of_the_versions_that_count(run):
    database = run.store.database
    put(database, 25, None, result(25, 0.9))
    put(database, 26, 1000.0, result(26, 0.4))
    put(database, 27, 1100.0, result(27, 0.1))
    put(database, 28, 1200.0, result(28, 0.4))
    put(database, 29, 1300.0, result(29, 0.5))
    with database.write() as connection:
        connection.execute(
            "INSERT INTO rollbacks (version, target, step, metrics) VALUES (28, 26, 28, '{}')"
        )
    found = points(database, "held_out", "accuracy")
    assert found[0] == (0.0, 0.2)
    assert [compute for compute, _ in found[1:25]] == pytest.approx(list(COMPUTE))
    assert found[25:] == [(1000.0, 0.4), (1300.0, 0.5)]
    assert points(database, "held_out", "pass@8")[0] == (0.0, 0.5)
    assert points(database, "aime24", "accuracy") == []
    assert measured(database) == [("held_out", "accuracy"), ("held_out", "pass@8")]


def test_the_command_prints_numbers_and_draws(run, tmp_path):
    picture = tmp_path / "fit.png"
    text = ralo_fit(run, "-o", str(picture))
    assert "held_out accuracy, 25 points" in text
    assert all(name in text for name in ("A ", "R0", "C_mid", "B ", "device-seconds"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    (found,) = json.loads(ralo_fit(run, "--json"))["fits"]
    assert found["refused"] == ""
    assert found["fit"]["A"]["value"] == pytest.approx(0.8, rel=0.02)
    assert found["fit"]["C_mid"]["value"] == pytest.approx(40.0, rel=0.1)
    (fixed,) = json.loads(ralo_fit(run, "--json", "--fix-r0"))["fits"]
    assert fixed["fit"]["R0"] == {"value": 0.2, "low": 0.2, "high": 0.2}


def test_the_command_says_why_there_is_no_fit(run, tmp_path):
    picture = tmp_path / "fit.png"
    text = ralo_fit(run, "--metric", "pass@8", "-o", str(picture))
    assert "no fit: no rise beyond the noise" in text
    assert picture.exists(), "the points are worth looking at"
    with pytest.raises(RaloError, match="no results of gsm8k accuracy; it has: held_out accuracy"):
        ralo_fit(run, "--benchmark", "gsm8k")


def test_a_run_without_results_is_told_what_to_set(server):
    with pytest.raises(RaloError, match=r"set evaluation\.problems"):
        ralo_fit(server())


def test_the_server_answers_as_the_command_does_and_computes_once(run, monkeypatch):
    (asked,) = run.http.simulate_get("/eval/fit").json["fits"]
    (printed,) = json.loads(ralo_fit(run, "--json"))["fits"]
    assert asked == printed
    monkeypatch.setattr("ralo_server.scaling.background._start", None)
    assert run.http.simulate_get("/eval/fit").json["fits"] == [asked]


def test_new_points_are_fitted_anew_and_a_failure_is_an_answer(monkeypatch):
    started = []

    def start(curve, given):
        started.append((curve, given))
        return real(curve, given)

    from ralo_server.scaling import background

    real = background._start
    monkeypatch.setattr(background, "_start", start)
    fits = Fits()

    def answer(curve, given):
        while (found := fits.get(curve, given)) is None:
            fits._child.process.wait(PATIENCE)
        return found

    assert "too few" in answer(("a", "m"), [(1.0, 2.0)])["refused"]
    assert "too few" in answer(("a", "m"), [(1.0, 2.0)])["refused"]
    assert "too few points: 2" in answer(("a", "m"), [(1.0, 2.0), (2.0, 2.0)])["refused"]
    assert answer(("b", "m"), [(1.0,)]) == {
        "fit": None, "refused": "the fit failed (exit 1): logs/web.log says why", "curve": [],
    }  # fmt: skip
    assert [curve for curve, _ in started] == [("a", "m"), ("a", "m"), ("b", "m")]
