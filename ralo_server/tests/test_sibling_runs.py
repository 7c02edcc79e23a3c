"""The runs beside this one, whatever else lies there; and the config without its secrets."""

import json
import os
import shutil
import sqlite3

import pytest

from ralo_server.rundir.lock import lock
from ralo_server.rundir.secrets_removed import REMOVED, without_secrets
from ralo_server.store import Store


def with_steps(directory, *rewards):
    store = Store(directory, directory.load_config(())[0])
    with store.database.write() as connection:
        for reward in rewards:
            connection.execute(
                "INSERT INTO steps (step, metrics) VALUES ((SELECT COUNT(*) FROM steps) + 1, ?)",
                (json.dumps({"reward": reward}),),
            )
    return store


@pytest.fixture
def runs(make_run, server, tmp_path):
    """This run, two others, and much that is none."""
    with_steps(make_run(name="other"), 0.25, 0.75)
    (tmp_path / "damaged").mkdir()
    shutil.copy(tmp_path / "other" / "config.json", tmp_path / "damaged")
    (tmp_path / "damaged" / "state.db").write_bytes(b"not SQLite" * 500)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text("[]")
    with sqlite3.connect(foreign / "state.db") as database:
        database.execute("CREATE TABLE facts (name TEXT, value TEXT)")
        database.execute("INSERT INTO facts VALUES ('run', 'no JSON')")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path.parent / f"{tmp_path.name}-outside").mkdir()
    run = server()
    with_steps(run.directory, 0.5)
    return run


def listed(run):
    return {entry["name"]: entry for entry in run.http.simulate_get("/runs").json["runs"]}


def test_every_run_is_listed_and_what_is_none_breaks_nothing(runs, tmp_path):
    found = listed(runs)
    assert sorted(found) == ["damaged", "foreign", "other", "run"]
    assert {name: entry["state"] for name, entry in found.items()} == {
        "damaged": "unreadable", "foreign": "unreadable", "other": "stopped", "run": "stopped",
    }  # fmt: skip
    assert found["other"] == {
        "name": "other", "path": str(tmp_path / "other"), "recipe": "test", "state": "stopped",
        "step": 2, "version": -1, "reward": 0.75, "accuracy": None, "current": False,
    }  # fmt: skip
    assert [name for name, entry in found.items() if entry["current"]] == ["run"]


def test_a_run_that_goes_on_or_is_removed_is_seen_to(runs, make_run, tmp_path):
    assert listed(runs)["other"]["step"] == 2
    with lock(make_run(name="other")):
        store = with_steps(make_run(name="other"), 1.0)
        other = listed(runs)["other"]
        assert (other["step"], other["reward"], other["state"]) == (3, 1.0, "running")
        assert series(runs, "other").json["last_step"] == 3
        store.database._connection().close()
    shutil.rmtree(tmp_path / "other")
    assert "other" not in listed(runs)
    assert series(runs, "other").status_code == 404
    with_steps(make_run(name="other"), 7.0)
    assert series(runs, "other").json["series"] == {"reward": [7.0]}, "another run of that name"


def series(run, name):
    return run.http.simulate_get("/runs/series", params={"run": name, "names": "reward"})


def test_series_of_other_runs_are_like_those_of_this_one(runs, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*.db")}
    other = series(runs, "other")
    assert other.json == {"last_step": 2, "steps": [1, 2], "series": {"reward": [0.25, 0.75]}}
    assert {path: path.read_bytes() for path in before} == before
    own = runs.http.simulate_get("/series", params={"names": "reward"})
    assert series(runs, "run").json == own.json
    for broken in ("damaged", "foreign"):
        answer = series(runs, broken)
        assert answer.status_code == 404, (broken, answer.text)
        assert (answer.status_code, answer.json["title"]) == (404, "run unreadable")


OUTSIDE = ["", ".", "..", "../other", "./other", "other/", "other/../other", "/", "no", "x\x00y",
           "empty", "file", "loop", "\ud800", "a" * 5000]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_only_a_run_that_is_listed_can_be_named(runs, tmp_path, name):
    full = str(tmp_path / "other")
    for wrong in (name, full):
        query = os.fsencode(wrong) if "\ud800" not in wrong else b"\xed\xa0\x80"
        quoted = "".join(f"%{byte:02x}" for byte in query)
        answer = runs.http.simulate_get("/runs/series", query_string=f"run={quoted}&names=reward")
        assert answer.status_code == 404, answer.text


def opened():
    paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(path) for path in paths if os.path.lexists(path))


def test_no_files_are_left_open_of_runs_that_were_looked_at(runs):
    listed(runs)
    series(runs, "run")
    before = opened()
    for _ in range(3):
        (runs.directory.root.parent / "other" / "state.db").touch()
        listed(runs)
        series(runs, "other")
    assert opened() == before


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("api_key", "s3cr3t", REMOVED),
        ("WANDB_API_KEY", "s3cr3t", REMOVED),
        ("token", "s3cr3t", REMOVED),
        ("hub_token", ["s3cr3t"], [REMOVED]),
        ("password", "", ""),
        ("max_tokens", 16, 16),
        ("keyfile", "/etc/key.pem", "/etc/key.pem"),
        ("keep_every", 3, 3),
        ("tokenizer", "byte", "byte"),
        ("store", "s3://id:s3cr3t@bucket/run", f"s3://{REMOVED}@bucket/run"),
        ("sources", ["https://a.b/x?sig=s3cr3t&y=1"], [f"https://a.b/x?sig={REMOVED}&y=1"]),
        ("setup", ["export HF_TOKEN=s3cr3t"], [f"export HF_TOKEN={REMOVED}"]),
        ("prompt", "mail a@b.c: 1 + 1 = ?", "mail a@b.c: 1 + 1 = ?"),
    ],
)
def test_what_is_secret_in_a_config_is_not_shown(key, value, shown):
    assert without_secrets({"section": {key: value}}) == {"section": {key: shown}}


def test_the_config_of_the_run_is_shown_with_its_sources_and_plugins(server):
    run = server("weights.store='memory://id:s3cr3t@bucket/run'", "loss.use='clip'")
    answer = run.http.simulate_get("/run/config")
    assert "s3cr3t" not in answer.text
    shown = answer.json
    assert (shown["run"], shown["recipe"]) == ("run", "test")
    assert shown["config"]["loss"]["use"] == "clip"
    assert shown["sources"]["loss.use"] == "--set"
    assert "server.port" not in shown["sources"], "nobody set it"
    assert {"name", "distribution", "version"} == set(shown["plugins"][0])
    assert "server" in {plugin["name"] for plugin in shown["plugins"]}
    assert run.services.config.data["weights"]["store"].count("s3cr3t") == 1, "workers need it"
