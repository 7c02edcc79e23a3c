"""Evaluations through the web side: shards in, one result out, asked by schedule or on demand."""

import json

import attrs
import pytest

from ralo_core import BenchmarkSettings, Problem
from ralo_core.config import resolve, set_layer
from ralo_core.errors import ConfigError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.doctor.examination import examine
from ralo_server.evaluation.results import Concluder
from ralo_server.preparation import prepare
from ralo_server.rollback import roll_back
from ralo_server.store.evaluation.benchmarks import Plan
from ralo_server.store.evaluation.evaluations import use_benchmarks

QUIZ = ("benchmarks.pipeline=['jsonl']", "evaluation.problems=0", "benchmarks.jsonl.grader=exact",
        "benchmarks.jsonl.shard_items=2", "benchmarks.jsonl.samples=2",
        "benchmarks.jsonl.temperature=0.7", "benchmarks.jsonl.system=Be brief.",
        "benchmarks.jsonl.max_tokens=9", "benchmarks.jsonl.top_k=5",
        "benchmarks.jsonl.metrics=['accuracy', 'pass@k']")  # fmt: skip
ITEMS = 5


@pytest.fixture
def quiz(server, tmp_path):
    """Return a function that gives a run with a benchmark of five items in three shards."""
    rows = [{"prompt": f"{n} + 1 =", "answer": str(n + 1)} for n in range(ITEMS)]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(*settings, learn=True):
        run = server(*QUIZ, f"benchmarks.jsonl.path={tmp_path}/quiz.jsonl", *settings)
        run.the_learner = run.learner() if learn else None
        return run

    return start


def take_steps(run, random_gradient, count):
    for _ in range(count):
        run.fill(1)
        step = run.store.run.step() + 1
        run.send_gradient(run.batch().id, random_gradient(step), f"g{step}")
        run.the_learner.step(run.the_learner.due())


def report_all(run, truths=((True, False),)):
    """Report every shard, the items in turn as `truths` says; return the jobs."""
    jobs = []
    while (job := run.claim(f"w{len(jobs)}")) is not None:
        wanted = [truths[n % len(truths)] for n in range(len(job["problems"]))]
        assert run.report(job, wanted, f"w{len(jobs)}").status_code == 200
        jobs.append(job)
    return jobs


def test_an_evaluation_is_shared_by_samplers_and_each_is_told_how_to_ask(quiz):
    run = quiz()
    jobs = [run.claim(f"w{n}") for n in range(3)]
    assert run.claim("w9") is None
    assert [len(job["problems"]) for job in jobs] == [2, 2, 1]
    ids = [problem["id"] for job in jobs for problem in job["problems"]]
    assert len(set(ids)) == ITEMS
    for job in jobs:
        assert job["response_settings"] == {
            "grader": "exact", "samples": 2, "temperature": 0.7, "top_p": 1.0, "top_k": 5,
            "max_tokens": 9, "system": "Be brief.",
        }  # fmt: skip
    assert run.http.simulate_get("/stats").json["evaluation"] == {
        "waiting": 0, "leased": 3, "reported": 0,
    }  # fmt: skip


def test_the_last_shard_brings_the_result_its_file_and_one_event(quiz, monkeypatch):
    run = quiz()
    told = []
    monkeypatch.setattr(run.services, "notify", lambda event, **facts: told.append((event, facts)))
    first, second, third = (run.claim() for _ in range(3))
    run.report(third, [(True, True)])  # whatever the order
    run.report(first, [(True, False), (False, False)])
    assert run.results() == [] == told
    assert run.report(second, [(False, True), (False, False)]).json["duplicate"] is False
    for job in (first, second, third):
        again = [(True, True)] * len(job["problems"])
        assert run.report(job, again).json == {"accepted": True, "duplicate": True}
    (result,) = run.results()
    assert (result["version"], result["step"], result["benchmark"]) == (0, 0, "jsonl")
    assert (result["items"], result["samples"], result["tokens"]) == (5, 2, 30)
    values = {name: estimate["value"] for name, estimate in result["metrics"].items()}
    assert values == {"accuracy": pytest.approx(2 / 5), "pass@2": pytest.approx(3 / 5)}
    for estimate in result["metrics"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert told == [("ralo_eval_reported", {"version": 0, "benchmark": "jsonl", "metrics": values})]
    file = json.loads((run.directory.root / "eval/v000000/jsonl.json").read_text())
    rows = file.pop("rows")
    assert {**file, "abandoned": False} == result
    assert [row["correct"] for row in rows] == [
        [True, False], [False, False], [False, True], [False, False], [True, True]
    ]  # fmt: skip
    chosen = {"benchmark": "jsonl", "version": 0}
    assert run.http.simulate_get("/eval/rows", params=chosen).json["rows"] == rows
    assert run.results(version=1) == [] == run.results(benchmark="held_out")


def test_a_death_before_the_commit_of_the_result_costs_nothing(quiz, monkeypatch):
    run = quiz()
    *others, last = (run.claim() for _ in range(3))
    for job in others:
        run.report(job, [(True, True)] * 2)
    keep = Concluder._keep

    def dying(self, *arguments):
        keep(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Concluder, "_keep", dying)
    with pytest.raises(KeyboardInterrupt):
        run.report(last, [(True, True)])
    assert run.results() == []
    found = examine(run.directory, running=False)
    assert [finding.what for finding in found] == ["eval/v000000/jsonl.json belongs to nothing"]
    monkeypatch.setattr(Concluder, "_keep", keep)
    assert run.report(last, [(False, False)]).json["duplicate"] is False
    (result,) = run.results()
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(4 / 5)
    assert examine(run.directory, running=False) == []


def test_each_benchmark_is_asked_as_often_as_it_says(quiz, random_gradient):
    run = quiz("trainer.batch_trees=1", "evaluation.problems=2", "evaluation.every_steps=3",
               "benchmarks.jsonl.every_steps=2", "run.max_steps=5")  # fmt: skip
    take_steps(run, random_gradient, 5)
    assert run.store.run.advance() == "evaluating"
    run.evaluate()
    assert run.store.run.advance() == "finished"
    asked = [(result["version"], result["benchmark"]) for result in run.results()]
    assert [version for version, name in asked if name == "jsonl"] == [0, 2, 4, 5]
    assert [version for version, name in asked if name == "held_out"] == [0, 3, 5]


def test_trackers_get_every_metric_once_at_the_step_of_the_version(quiz, random_gradient):
    run = quiz("trainer.batch_trees=1", "benchmarks.jsonl.every_steps=1")
    take_steps(run, random_gradient, 1)
    report_all(run)
    for _ in range(2):
        run.the_learner.trackers.tell()
    assert run.the_learner.trackers.close()
    lines = (run.directory.root / "metrics.jsonl").read_text().splitlines()
    told = [row for row in map(json.loads, lines) if "eval/jsonl/pass@2" in row]
    assert [(row["step"], row["version"]) for row in told] == [(0, 0), (1, 1)]
    for row in told:
        assert row["eval/jsonl/accuracy"] == row["eval/jsonl/pass@2"] == 1.0
        assert row["eval/jsonl/accuracy/low"] == row["eval/jsonl/accuracy/high"] == 1.0


def test_a_version_stays_until_the_last_shard_of_it_is_reported(quiz, random_gradient):
    run = quiz("trainer.batch_trees=1", "benchmarks.jsonl.every_steps=2",
               "learner.keep_last_versions=1", "learner.checkpoint_every=1")  # fmt: skip
    take_steps(run, random_gradient, 2)
    while (job := run.claim())["version"] != 2:
        run.report(job, [(True, True)] * len(job["problems"]))
    take_steps(run, random_gradient, 2)
    assert run.store.versions.published() == [0, 2, 4], "one of its shards is out, two wait"
    run.report(job, [(True, True)] * 2)
    report_all(run)
    take_steps(run, random_gradient, 1)
    assert run.store.versions.published() == [0, 5]


def test_asked_on_demand_twice_it_is_asked_once(quiz, random_gradient):
    run = quiz("trainer.batch_trees=1")
    take_steps(run, random_gradient, 1)

    def ask(version, *benchmarks):
        wish = {"benchmarks": list(benchmarks), "version": version}
        return run.http.simulate_post("/eval/request", json=wish)

    for _ in range(2):
        reply = ask(None, "jsonl")
        assert reply.json == {
            "evaluations": [{"version": 1, "benchmark": "jsonl", "state": "open"}]
        }
    jobs = report_all(run)
    assert [job["version"] for job in jobs] == [0, 0, 0, 1, 1, 1]
    assert ask(1, "jsonl", "jsonl").json["evaluations"][0]["state"] == "reported"
    assert run.claim() is None
    unknown = ask(1, "jsonq")
    assert unknown.status_code == 422
    assert "no benchmark 'jsonq'; did you mean 'jsonl'?" in unknown.json["detail"]
    gone = ask(7, "jsonl")
    assert gone.status_code == 422
    assert "version 7 is not kept; kept are 0, 1" in gone.json["detail"]


def test_what_a_rollback_leaves_behind_is_not_evaluated_and_marked(quiz, random_gradient):
    run = quiz("trainer.batch_trees=1", "benchmarks.jsonl.every_steps=1",
               "learner.keep_last_versions=9")  # fmt: skip
    take_steps(run, random_gradient, 1)
    report_all(run)
    take_steps(run, random_gradient, 1)
    late = run.claim()
    assert late["version"] == 2
    roll_back(run.store, 0)
    assert run.report(late, [(True, True)] * 2).status_code == 409
    assert {job["version"] for job in report_all(run)} == {3}
    marks = {result["version"]: result["abandoned"] for result in run.results()}
    assert marks == {0: False, 1: True, 3: False}


def test_a_resumed_run_keeps_its_items_and_may_have_other_benchmarks(quiz, tmp_path):
    run = quiz(learn=False)
    before = run.store.benchmarks.items("jsonl")
    (tmp_path / "quiz.jsonl").unlink()

    def resume(*settings):
        stored = run.directory.settings()["config"]
        layers = [attrs.evolve(set_layer(()), data=stored), set_layer(settings)]
        config = resolve(layers, Registry(PluginHost().load()))
        prepare(run.directory, config, "test")

    resume("benchmarks.jsonl.samples=4")
    assert run.store.benchmarks.items("jsonl") == before
    assert run.store.benchmarks.plans()["jsonl"].response_settings.samples == 4
    resume("benchmarks.pipeline=['arithmetic']", "benchmarks.arithmetic.limit=3")
    assert list(run.store.benchmarks.plans()) == ["arithmetic"]
    assert run.store.benchmarks.size("arithmetic") == 3
    graders = run.directory.settings()["plugins"]["sampler"]
    assert {"ralo-tasks"} <= {plugin["distribution"] for plugin in graders}


def test_a_benchmark_that_is_dropped_gives_up_what_is_open_of_it(quiz):
    run = quiz("evaluation.problems=2")
    held_out = run.store.benchmarks.plans()["held_out"]
    use_benchmarks(run.store.benchmarks.database, {"held_out": held_out})
    assert {job["benchmark"] for job in iter(run.claim, None)} == {"held_out"}
    assert run.store.evaluations.open() == 1


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("benchmarks.jsonl.grader=nonesuch", "benchmarks.jsonl: its grader: no reward is called"),
        ("benchmarks.jsonl.metrics=['no_module_of_mine:f']", "no_module_of_mine"),
        ("benchmarks.jsonl.metrics=['pass@3']", "pass@3 needs 3 samples"),
        (
            ["benchmarks.jsonl.grader=math", "reward.pipeline=['math']", "reward.math.correct=0.5"],
            "from 1 on, and reward.math.correct is 0.5: leave that at 1",
        ),
    ],
)
def test_a_benchmark_that_cannot_work_is_refused_before_the_run_begins(quiz, setting, fault):
    with pytest.raises(Exception, match=fault) as refused:
        quiz(*([setting] if isinstance(setting, str) else setting), learn=False)
    assert isinstance(refused.value, ConfigError) or "no_module_of_mine" in str(refused.value)


def test_a_metric_of_ones_own_that_fails_costs_neither_the_others_nor_the_responses(
    quiz, tmp_path, monkeypatch
):
    (tmp_path / "failing_metric.py").write_text("def half(item):\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = quiz("benchmarks.jsonl.metrics=['failing_metric:half', 'accuracy']")
    report_all(run)
    (result,) = run.results()
    assert list(result["metrics"]) == ["accuracy"]


def test_samplers_must_have_the_plugin_of_a_grader_that_no_rollout_is_scored_by(quiz):
    run = quiz("benchmarks.jsonl.grader=math", learn=False)
    names = {plugin["name"] for plugin in run.http.simulate_get("/config").json["plugins"]}
    assert any("worker" in name for name in names)
    needed = {p["distribution"] for p in run.directory.settings()["plugins"]["sampler"]}
    assert "ralo-worker" in needed


def test_the_doctor_tells_of_responses_that_are_gone(quiz):
    run = quiz()
    report_all(run)
    path = run.directory.evaluation_file(0, "jsonl")
    path.write_text("{")
    found = examine(run.directory, running=False)
    assert [finding.what.split(":")[0] for finding in found] == ["eval/v000000/jsonl.json"]
    chosen = {"benchmark": "jsonl", "version": 0}
    reply = run.http.simulate_get("/eval/rows", params=chosen)
    assert reply.status_code == 404
    assert "ralo doctor" in reply.json["detail"]
    for finding in found:
        finding.action(run.store)
    assert run.results() == []
    report_all(run)
    assert run.http.simulate_get("/eval/rows", params=chosen).status_code == 200


def test_stats_show_few_of_many_results_the_first_and_the_last(quiz):
    run = quiz(learn=False)
    with run.store.database.write() as connection:
        for version in range(450):
            report = {
                "version": version, "step": version, "benchmark": "jsonl", "items": 1,
                "samples": 1, "time": 0.0, "seconds": 0.0, "tokens": 0, "metrics": {},
            }  # fmt: skip
            connection.execute(
                """INSERT INTO evaluations (id, version, benchmark, state, plan, report)
                   VALUES (?, ?, 'jsonl', 'reported', '', ?)""",
                (f"e{version}", version, json.dumps(report)),
            )
    shown = [r["version"] for r in run.http.simulate_get("/stats").json["evaluations"]]
    assert (len(shown), shown[0], shown[-1]) == (200, 0, 449)
    assert len(run.results()) == 450


@pytest.mark.parametrize(("samples", "items"), [(1, 64), (16, 4), (64, 1), (100, 1)])
def test_a_shard_has_about_so_many_responses_unless_it_says_its_items(samples, items):
    settings = BenchmarkSettings(samples=samples, temperature=1.0)
    assert Plan(grader="exact", settings=settings).shard_items == items
    own = attrs.evolve(settings, shard_items=7)
    assert Plan(grader="exact", settings=own).shard_items == 7
    assert Plan.load(Plan(grader="exact", settings=own).dump()).settings == own


def test_items_come_back_as_they_were_drawn(quiz):
    run = quiz(learn=False)
    items = [
        Problem(id="한", prompt=({"role": "user", "content": "하나?"},), answer="1"),
        Problem(id="b", prompt="둘?", answer="2", metadata={"letters": "AB"}),
    ]
    run.store.benchmarks.draw("other", items)
    assert run.store.benchmarks.items("other") == items
    assert run.store.benchmarks.items("other", first=1, count=1) == items[1:]
