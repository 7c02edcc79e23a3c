"""GET /metrics, read as Prometheus reads it, says what /stats says."""

import re
from pathlib import Path

import pytest
import requests
from patience import PATIENCE
from prometheus_client.parser import text_string_to_metric_families
from web_process import WebProcess

from ralo_server.rundir.tokens import make_tokens


def samples(text):
    """Return the value of every sample by name and sorted labels."""
    return {
        (
            sample.name,
            *(f"{key}={value}" for key, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def stepped(server, random_gradient):
    """A run at step 2 with a tree in the queue, a batch under lease, one worker and a result."""
    run = server("trainer.batch_trees=1", "evaluation.problems=2", "evaluation.every_steps=1")
    learner = run.learner()
    run.take_steps(learner, random_gradient, 2)
    run.fill(2)
    run.batch()
    run.lease(3)
    run.report(run.claim(), [True, False])
    run.store.workers.register("s-1", "sampler", {})
    run.store.workers.register("s-2", "sampler", {})
    run.store.workers.leave("s-2")
    learner.trackers.tell()
    learner.trackers.close()
    return run


def test_it_says_what_the_state_says(stepped):
    stats = stepped.http.simulate_get("/stats").json
    found = samples(stepped.http.simulate_get("/metrics").text)
    expected = {
        ("ralo_step",): 2, ("ralo_version",): 2,
        ("ralo_run_state", "state=running"): 1, ("ralo_run_state", "state=draining"): 0,
        ("ralo_trees", "state=queued"): 1, ("ralo_trees", "state=leased"): 1,
        ("ralo_trees_ended_total", "outcome=trained"): 2,
        ("ralo_trees_capacity",): stats["trees"]["capacity"],
        ("ralo_leases", "kind=problem"): 3, ("ralo_leases", "kind=batch"): 1,
        ("ralo_leases", "kind=evaluation"): 0, ("ralo_problems_ended_total", "outcome=done"): 4,
        ("ralo_tokens_total", "what=decoded"): stats["tokens"]["decoded"],
        ("ralo_rollouts_total", "what=trained"): 4,
        ("ralo_gradients", "state=pending"): 0,
        ("ralo_gradients_ended_total", "outcome=applied"): 2,
        ("ralo_gradients_refused_total", "reason=outlier"): 0,
        ("ralo_workers", "role=sampler", "state=alive"): 1,
        ("ralo_workers", "role=sampler", "state=left"): 1,
        ("ralo_tracker_records_waiting", "tracker=jsonl"): 0,
        ("ralo_tracker_behind_seconds", "tracker=jsonl"): 0,
        ("ralo_evaluation", "benchmark=held_out", "metric=accuracy"): 0.5,
        ("ralo_evaluation_version", "benchmark=held_out"): 0,
        ("ralo_evaluation_shards", "state=waiting"): 2,
    }  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected
    last = stats["steps"][-1]
    assert found["ralo_step_metric", "name=reward"] == last["reward"]
    assert {key[1] for key in found if key[0] == "ralo_step_metric"} == {f"name={n}" for n in last}
    assert all(key[0].startswith("ralo_") for key in found)


def test_the_names_are_the_documented_ones(stepped):
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    _, _, section = page.partition("### Prometheus")
    rows = re.findall(r"^\| (`ralo_.*?`) \| (.*?) \|", section, flags=re.M)
    documented = {name: labels for names, labels in rows for name in re.findall(r"ralo_\w+", names)}
    found = samples(stepped.http.simulate_get("/metrics").text)
    assert {key[0] for key in found} == documented.keys()
    for name, *labels in found:
        for label in labels:
            assert f"`{label.partition('=')[0]}`" in documented[name]


def test_refusals_are_counted_by_reason(server, random_gradient):
    run = server("trainer.batch_trees=1")
    run.learner()
    run.fill(1)
    bad = {name: values * float("nan") for name, values in random_gradient(0).items()}
    assert run.send_gradient(run.batch().id, bad, "bad").status_code == 422
    found = samples(run.http.simulate_get("/metrics").text)
    assert found["ralo_gradients_refused_total", "reason=not_finite"] == 1


def test_a_run_without_a_step_has_metrics_too(server):
    found = samples(server("evaluation.problems=0").http.simulate_get("/metrics").text)
    assert (found["ralo_step",], found["ralo_version",]) == (0, -1)
    assert not [key for key in found if key[0] in ("ralo_step_metric", "ralo_evaluation")]


def test_two_web_processes_agree_and_only_viewers_are_answered(make_run):
    directory = make_run("server.auth=on")
    tokens = make_tokens(directory)
    processes = []
    try:
        processes += [WebProcess(directory), WebProcess(directory)]
        requests.get(f"{processes[0].url}/health", timeout=PATIENCE)
        answers = [ask(process, tokens["viewer"]) for process in processes]
        first, second = (samples(answer.text) for answer in answers)
        assert answers[0].headers["Content-Type"].startswith("text/plain")
        assert first == second
        assert ask(processes[0], tokens["sampler"]).status_code == 403
        assert requests.get(f"{processes[0].url}/metrics", timeout=PATIENCE).status_code == 401
    finally:
        for process in processes:
            process.close()


def ask(process, token):
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{process.url}/metrics", headers=headers, timeout=PATIENCE)
