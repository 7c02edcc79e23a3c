"""Evaluations by real processes, on the fake engine: its greedy response is a function of weights
and prompt, so every text in a result says which version wrote it."""

import asyncio
import json
import signal
import sqlite3
import time

import pytest
from served_run import ServedRun
from test_training_run import ralo

from ralo_core import BuildContext, GenerationRequest
from ralo_core.config import PromptSettings
from ralo_core.data import Problem
from ralo_core.structuring import structure
from ralo_core.testing import FakeEngine
from ralo_worker.prompting import Prompting, load_tokenizer

ITEMS, MOST = 12, 8
OWN_REWARD = """import time

def score(problem, responses):
    if problem.id.startswith("jsonl"):
        time.sleep(0.2)  # an evaluation is long enough to be killed in its middle
    return [sum(map(str.isdigit, r.text)) / r.tokens for r in responses]
"""


@pytest.fixture
def settings(model, tmp_path, monkeypatch):
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)  # where the reward is found, by the processes too
    (tmp_path / "own.py").write_text(OWN_REWARD)
    rows = [{"prompt": f"{n}+{n}=", "answer": str(2 * n)} for n in range(ITEMS - 1)]
    rows.append({"prompt": "1+" * 400, "answer": "400"})  # longer than the model's context
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (
        f"run.model={model}", "engine.use=fake", "server.port=0", "sampler.threads=1",
        "trainer.threads=1", "trainer.batch_trees=4", "learner.keep_last_versions=99",
        "reward.pipeline=['function']", "reward.function.path=own:score",
        "benchmarks.pipeline=['jsonl']", "benchmarks.jsonl.path=quiz.jsonl",
        "benchmarks.jsonl.grader=function", "benchmarks.jsonl.shard_items=1",
        f"benchmarks.jsonl.max_tokens={MOST}",
    )  # fmt: skip


def results_of(run_dir, benchmark):
    """Return version -> file of a benchmark's results."""
    files = sorted(run_dir.glob(f"eval/v*/{benchmark}.json"))
    return {int(path.parent.name[1:]): json.loads(path.read_text()) for path in files}


def texts_of(directory, rows):
    """Return what the weights in `directory` answer to each row, "" where it does not fit."""
    engine = FakeEngine(None, BuildContext(role="sampler", model_dir=directory))
    tokenizer = load_tokenizer(directory)
    prompting = Prompting(PromptSettings(), tokenizer)
    problem = {"id": "p", "answer": ""}
    prompts = [
        prompting.render(structure({**problem, "prompt": row["prompt"]}, Problem)) for row in rows
    ]
    fitting = [prompt for prompt in prompts if len(prompt) < engine.max_length]
    requests = [GenerationRequest(prompt=p, max_tokens=MOST, temperature=0.0) for p in fitting]
    done = iter(asyncio.run(engine.generate(requests)))
    return [
        tokenizer.decode(next(done).tokens, skip_special_tokens=True) if p in fitting else ""
        for p in prompts
    ]


@pytest.mark.slow
def test_a_sampler_killed_in_an_evaluation_costs_time_only_while_training_goes_on(
    settings, tmp_path
):
    run = ServedRun(
        tmp_path, *settings, "server.lease_seconds=4", "benchmarks.jsonl.every_steps=4",
        "evaluation.problems=4",
    )  # fmt: skip
    try:
        for _ in range(2):
            run.start("sample", "--server", run.url)
        run.start("train", "--server", run.url)
        shards = sqlite3.connect(f"file:{run.directory}/state.db?mode=ro", uri=True)
        victim, held = run.wait_for(
            lambda: stopped_in_the_middle(shards, run.processes), pause=0.02
        )
        before = run.stats().step
        killed = run.processes.pop(name_of(victim, run.processes))
        killed.kill()
        killed.wait()
        run.wait_for(lambda: run.stats().step >= before + 2)
        run.client.stop()
        run.wait_for(lambda: run.client.health().state == "finished")
        last = run.stats().version
    finally:
        run.processes = {n: p for n, p in run.processes.items() if p.poll() is None}
        run.close()
    who = dict(shards.execute("SELECT id, worker_id FROM evaluation_shards"))
    assert victim not in {who[shard] for shard in held}, "others did what it had leased"
    evaluation = held[0].rpartition("-")[0]
    both = {worker for shard, worker in who.items() if shard.startswith(f"{evaluation}-")}
    assert victim in both, "what it had handed in counts"
    assert len(both) == 2, "one evaluation was shared by two samplers"
    found = results_of(run.directory, "jsonl")
    assert sorted(found) == sorted({*range(0, last + 1, 4), last})
    for version, result in found.items():
        rows = result["rows"]
        assert (result["version"], result["items"], len(rows)) == (version, ITEMS, ITEMS)
        directory = run.directory / "weights" / f"v{version:06d}"
        assert [row["texts"] for row in rows] == [[text] for text in texts_of(directory, rows)]
    written = {tuple(row["texts"][0] for row in result["rows"]) for result in found.values()}
    assert len(written) == len(found), "each version answers otherwise, so texts tell them apart"
    long = found[0]["rows"][-1]
    assert "does not fit the model's context" in long["reason"]
    assert (long["correct"], long["finish_reasons"]) == ([False], ["error"])
    assert {0, last} <= results_of(run.directory, "held_out").keys()


def name_of(worker, processes):
    return next(name for name, p in processes.items() if worker.endswith(f"-{p.pid}"))


def stopped_in_the_middle(shards, processes):
    """Return what `in_the_middle` does, of a sampler that is stopped and so does not end it."""
    found = in_the_middle(shards)
    if not found:
        return None
    process = processes[name_of(found[0], processes)]
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)  # what it has sent arrives
    still = in_the_middle(shards)
    if still and still[0] == found[0]:
        return still
    process.send_signal(signal.SIGCONT)
    return None


def in_the_middle(shards):
    """Return a sampler and the shards it holds of an evaluation of which it and another sampler
    have answered some."""
    rows = shards.execute(
        """SELECT worker_id, id FROM evaluation_shards s WHERE state = 'leased' AND
           (SELECT COUNT(DISTINCT worker_id) FROM evaluation_shards o
            WHERE o.evaluation = s.evaluation AND o.state = 'reported') = 2
           AND EXISTS (SELECT 1 FROM evaluation_shards o WHERE o.evaluation = s.evaluation
            AND o.state = 'reported' AND o.worker_id = s.worker_id)"""
    ).fetchall()
    return rows and (rows[0][0], [shard for worker, shard in rows if worker == rows[0][0]])


@pytest.mark.slow
def test_a_model_is_evaluated_without_training_and_a_run_on_demand(settings, model, tmp_path):
    options = [part for value in settings for part in ("--set", value)]
    output = ralo(
        "eval", str(model), "--benchmark", "jsonl", "--samplers", "2", "--run-dir", "alone",
        "--json", *options,
    )  # fmt: skip
    (alone,) = json.loads(output)
    assert (alone["version"], alone["benchmark"], alone["items"]) == (0, "jsonl", ITEMS)
    rows = results_of(tmp_path / "alone", "jsonl")[0]["rows"]
    assert [row["texts"][0] for row in rows] == texts_of(
        tmp_path / "alone" / "weights" / "v000000", rows
    )
    run = ServedRun(tmp_path, *settings, "benchmarks.pipeline=['arithmetic']",
                    "benchmarks.arithmetic.limit=5", "evaluation.problems=0")  # fmt: skip
    try:
        run.start("sample", "--server", run.url)
        for _ in range(2):
            asked = ralo("eval", "--run-dir", str(run.directory), "--benchmark", "arithmetic")
            assert "arithmetic" in asked
            assert "95 % interval" in asked
        (result,) = run.client.eval_results("arithmetic")
        assert (result.version, result.items) == (0, 5)
    finally:
        run.close()
