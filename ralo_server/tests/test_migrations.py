"""A state.db of every earlier schema becomes one of today's, with its rows."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from ralo_core import BenchmarkSettings
from ralo_core.errors import RaloError
from ralo_server.store.database import Database
from ralo_server.store.evaluation import shard_rows
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.evaluation.evaluations import Evaluations, use_benchmarks
from ralo_server.store.evaluation.shards import Shards
from ralo_server.store.lease_terms import LeaseTerms
from ralo_server.store.schema import MIGRATIONS
from ralo_server.store.weights.versions import Versions

ROWS = (
    "INSERT INTO facts VALUES ('run', '\"r\"'), ('optimizer', '\"step-000002\"')",
    "INSERT INTO counters VALUES ('trees_trained', 4)",
    "INSERT INTO problems (id, body, state, lease_id) VALUES ('p', '{}', 'done', 'l')",
    """INSERT INTO trees (lease_id, blob, state, oldest_version, facts)
       VALUES ('l', 'l.safetensors', 'queued', 0, '{}')""",
    "INSERT INTO batches (id, worker_id, state, expires) VALUES ('b', 'w', 'leased', 9.0)",
    """INSERT INTO gradients (upload_id, batch_id, blob, base_version, weight, metrics, state)
       VALUES ('u', 'b', 'u.safetensors', 1, 2.0, '{}', 'pending')""",
    "INSERT INTO versions (number, step, body, state) VALUES (1, 1, '{}', 'published')",
    "INSERT INTO versions (number, step, body, state) VALUES (2, 2, '{}', 'published')",
    "INSERT INTO steps (step, metrics) VALUES (1, '{}')",
    "INSERT INTO workers VALUES ('w', 'sampler', '{}', 1.0, 'alive')",
)
_RENAMED = {"run_values": "facts", "version_holds": "readers"}
"""Tables that had another name, and columns likewise, in the first `_OLD_NAMES` migrations."""
_OLD_NAMES = 13
_WHOLE_EVALUATIONS = 9
"""With so many migrations an evaluation was one job."""
_JUDGES = 14
"""With so many migrations a plan had a judge, and a shard answers."""
EVALUATION = """INSERT INTO evaluations (id, version, state, worker_id, expires)
    VALUES ('eval-1', 1, 'leased', 'w', 9.0)"""
SHARDED = """INSERT INTO evaluations (id, version, benchmark, state, plan)
    VALUES ('eval-1-held_out', 1, 'held_out', 'open', '')"""


def database_of(path, version):
    """Make a state.db as a ralo-server with `version` migrations left it, with a row of each."""
    connection = sqlite3.connect(path)
    for script in MIGRATIONS[:version]:
        connection.executescript(script)
    evaluation = EVALUATION if version <= _WHOLE_EVALUATIONS else SHARDED
    for row in (*ROWS, evaluation):
        renamed = row.replace("INTO facts", "INTO run_values").replace(", facts)", ", summary)")
        connection.execute(row if version <= _OLD_NAMES else renamed)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()


def schema(database):
    """Return columns and indices of every table: they count, not how they came about."""
    tables = [
        row[0] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    return {
        table: (
            [tuple(row)[1:] for row in database.rows(f"PRAGMA table_info({table})")],
            sorted(
                (row["name"], row["unique"]) for row in database.rows(f"PRAGMA index_list({table})")
            ),
        )
        for table in tables
    }


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_an_earlier_schema_becomes_the_one_of_a_new_file(tmp_path, version):
    database_of(tmp_path / "old.db", version)
    old, new = Database(tmp_path / "old.db"), Database(tmp_path / "new.db")
    assert schema(old) == schema(new)
    assert old.schema() == new.schema() == len(MIGRATIONS)
    for table in schema(old):
        kept = sum(f"INTO {_RENAMED.get(table, table)} " in row for row in (*ROWS, EVALUATION))
        assert old.value(f"SELECT COUNT(*) FROM {table}") >= kept
    assert old.value("SELECT value FROM counters") == 4
    assert old.rows("PRAGMA integrity_check")[0][0] == "ok"


def test_rows_of_the_first_schema_are_given_what_is_new(tmp_path):
    database_of(tmp_path / "old.db", 1)
    database = Database(tmp_path / "old.db")
    folders = dict(database.rows("SELECT number, optimizer FROM versions"))
    assert folders == {1: "", 2: "step-000002"}, "only the committed one was kept"
    state = database.value("SELECT state FROM evaluation_shards")
    assert state == "waiting", "a grant without a lease id can no longer be reported on"


def test_evaluations_of_before_shards_are_results_or_one_shard(tmp_path):
    database_of(tmp_path / "old.db", _WHOLE_EVALUATIONS)
    report = {"version": 2, "accuracy": 0.25, "count": 3, "time": 7.0}
    problems = [{"id": f"p{n}", "prompt": "?", "answer": "!", "metadata": {}} for n in range(3)]
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("INSERT INTO facts VALUES ('held_out', ?)", (json.dumps(problems),))
        old.execute(
            "INSERT INTO evaluations (id, version, state, report) VALUES ('e', 2, 'reported', ?)",
            (json.dumps(report),),
        )
    benchmarks = Benchmarks(database := Database(tmp_path / "old.db"))
    versions = Versions(database, tmp_path)
    (result,) = Evaluations(database, benchmarks, versions).results()
    assert result["metrics"]["accuracy"] == {"value": 0.25, "low": 0.0, "high": 1.0}
    assert (result["benchmark"], result["items"], result["time"]) == ("held_out", 3, 7.0)
    use_benchmarks(database, {"held_out": Plan(grader="exact", settings=BenchmarkSettings())})
    job = Shards(database, LeaseTerms(9.0), benchmarks).claim("w")
    assert (job.version, job.response_settings.grader) == (1, "exact")
    assert [item.id for item in job.items] == ["p0", "p1", "p2"]


def test_plans_of_before_graders_name_their_judge_as_the_grader(tmp_path):
    database_of(tmp_path / "old.db", _JUDGES)
    plan = json.loads(Plan(grader="exact", settings=BenchmarkSettings(limit=4)).dump())
    plan["judge"] = plan.pop("grader")
    text = json.dumps(plan)
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("INSERT INTO benchmarks VALUES ('quiz', 0, ?)", (text,))
        old.execute(
            """INSERT INTO evaluations (id, version, benchmark, state, plan)
               VALUES ('eval-1-quiz', 1, 'quiz', 'open', ?)""",
            (text,),
        )
    database = Database(tmp_path / "old.db")
    plan = Benchmarks(database).plans()["quiz"]
    assert (plan.grader, plan.settings.limit) == ("exact", 4)
    stored = dict(database.rows("SELECT id, plan FROM evaluations"))
    assert Plan.load(stored["eval-1-quiz"]) == plan
    assert stored["eval-1-held_out"] == "", "it has no plan of its own"


def test_responses_of_shards_that_were_reported_before_are_kept(tmp_path):
    database_of(tmp_path / "old.db", _JUDGES)
    one = {"texts": ["5"], "correct": [True], "tokens": [3], "finish_reasons": ["eos"]}
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute(
            """INSERT INTO evaluation_shards (id, evaluation, first, items, state, answers)
               VALUES ('s', 'eval-1-held_out', 0, 1, 'reported', ?)""",
            (json.dumps([one]),),
        )
    database = Database(tmp_path / "old.db")
    text = database.value("SELECT responses FROM evaluation_shards WHERE id = 's'")
    (item,) = shard_rows.load_responses(text)
    assert (item.texts, item.correct) == (("5",), (True,))


def test_what_was_being_received_with_digests_of_the_old_kind_is_abandoned(tmp_path):
    database_of(tmp_path / "old.db", 5)
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute(
            """INSERT INTO gradients (upload_id, batch_id, blob, base_version, weight, metrics,
                 state) VALUES ('v', 'b', 'v.safetensors', 1, 2.0, '{}', 'receiving')"""
        )
    states = dict(Database(tmp_path / "old.db").rows("SELECT upload_id, state FROM gradients"))
    assert states == {"u": "pending", "v": "abandoned"}


def test_processes_that_open_an_old_file_at_once_migrate_it_once(tmp_path):
    database_of(tmp_path / "old.db", 1)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: Database(tmp_path / "old.db"), range(8)))
    assert {database.schema() for database in opened} == {len(MIGRATIONS)}


def test_a_newer_schema_is_refused(tmp_path):
    Database(tmp_path / "new.db")._connection().execute(
        f"PRAGMA user_version = {len(MIGRATIONS) + 1}"
    )
    with pytest.raises(RaloError, match="newer ralo-server"):
        Database(tmp_path / "new.db")


def test_a_migration_that_breaks_off_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    database_of(tmp_path / "old.db", 1)
    broken = (*MIGRATIONS, "CREATE TABLE half (a); SELECT * FROM nowhere;")
    monkeypatch.setattr("ralo_server.store.database.MIGRATIONS", broken)
    with pytest.raises(sqlite3.OperationalError):
        Database(tmp_path / "old.db")
    reader = Database(tmp_path / "old.db", read_only=True)
    assert reader.schema() == 1
    assert "half" not in schema(reader)


def test_a_read_only_database_is_not_changed(tmp_path):
    database_of(tmp_path / "old.db", 1)
    reader = Database(tmp_path / "old.db", read_only=True)
    assert reader.schema() == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"), reader.write() as connection:
        connection.execute("DELETE FROM facts")
    with pytest.raises(sqlite3.OperationalError):
        Database(tmp_path / "missing.db", read_only=True).schema()
    assert not (tmp_path / "missing.db").exists()
