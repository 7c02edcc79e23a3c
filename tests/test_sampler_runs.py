"""Samplers of a real orchestrator over loopback, on a tiny model with random weights."""

import pytest
import torch
from served_run import InThread, ServedRun

from ralo_core.client import Client

torch.set_num_threads(1)

CAPACITY, GROUP = 16, 8
SETTINGS = (
    "server.port=0", f"sampling.grpo.group={GROUP}", "sampling.grpo.max_tokens=24",
    f"engine.transformers.max_batch={CAPACITY}", "trainer.batch_trees=4", "sampler.threads=1",
    "trainer.threads=1", "evaluation.problems=0", "reward.pipeline=['function']",
    "reward.function.path=telling:digits",
)  # fmt: skip
MOST_PROBLEMS = 12
"""A sampler's: groups have three requests or more under way on average, so seven fill the engine
with a quarter waiting; one more is begun, and others are scored or handed in."""


@pytest.fixture
def serve(model, tmp_path, monkeypatch):
    """Return a function that starts a run with further settings."""
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "telling.py").write_text(
        "def digits(problem, answers):\n"
        "    return [sum(map(str.isdigit, a.text)) / a.tokens for a in answers]\n"
    )
    monkeypatch.chdir(tmp_path)  # where the reward is found, by the processes too
    started = []

    def start(*settings):
        started.append(ServedRun(tmp_path, f"run.model={model}", *SETTINGS, *settings))
        return started[0]

    yield start
    for run in started:
        run.close()


@pytest.fixture
def sample_in_thread():
    """Return a function that starts a sampler of a run in a thread."""
    started = []

    def start(run):
        started.append(InThread(run))
        return started[0].sampler

    yield start
    for sampler in started:
        sampler.close()


def trees_done(run):
    return run.stats().problems.done


@pytest.mark.slow
def test_with_enough_problems_the_engine_is_full(serve, sample_in_thread):
    run = serve("server.queued_trees=10000")
    sampler = sample_in_thread(run)
    run.wait_for(lambda: trees_done(run) >= 30)
    load, problems = [], []

    def look():
        load.append(sampler.shares.rollouts.asked)
        problems.append(run.stats().problems.leased)
        return trees_done(run) >= 150

    run.wait_for(look, pause=0.02)
    assert sum(min(asked, CAPACITY) for asked in load) >= 0.7 * CAPACITY * len(load)
    assert sum(load) <= 2 * CAPACITY * len(load), "what waits makes older trees"
    assert max(problems) <= MOST_PROBLEMS


@pytest.mark.slow
def test_two_samplers_share_what_the_queue_admits(serve):
    """Neither leases what it cannot begin soon, so both get their part of a short queue."""
    run = serve("server.queued_trees=80")
    for _ in range(2):
        run.start("sample", "--server", run.url)
    leased = []

    def full():
        stats = run.stats()
        leased.append(stats.problems.leased)
        return stats.trees.queued == 80

    run.wait_for(full, pause=0.02)
    assert max(leased) <= 2 * MOST_PROBLEMS
    assert run.stats().problems.issued == 80
    tokens = run.stats().tokens.decoded
    run.wait_for(lambda: sum(worker.tokens for worker in run.samplers()) == tokens)
    assert min(worker.tokens for worker in run.samplers()) >= 0.2 * tokens


@pytest.mark.slow
def test_an_evaluation_and_rollouts_both_go_on(serve, sample_in_thread, monkeypatch):
    run = serve("server.queued_trees=10000", "evaluation.problems=96")
    marks = []

    def noting(name):
        method = getattr(Client, name)

        def call(self, *arguments):
            answer = method(self, *arguments)
            if name == "report_eval" or answer is not None:
                marks.append((name, trees_done(run)))
            return answer

        monkeypatch.setattr(Client, name, call)

    noting("eval_job")
    noting("report_eval")
    sample_in_thread(run)
    (evaluated,) = run.wait_for(lambda: run.stats().evaluations)
    assert (evaluated.version, evaluated.items) == (0, 96)

    def reports():
        return [done for name, done in marks if name == "report_eval"]

    run.wait_for(lambda: len(reports()) == 2)  # the call that reported is back a moment later
    claimed, reported = marks[0][1], reports()[-1]
    # 96 greedy answers beside as many requests of rollouts, in groups of 8
    assert 4 <= reported - claimed <= 40


@pytest.mark.slow
def test_what_workers_report_is_what_was_sampled(serve, sample_in_thread):
    run = serve("server.queued_trees=16")
    sampler = sample_in_thread(run)
    run.start("train", "--server", run.url)

    def trained():
        """The trainer has told of new weights, which it does with a heartbeat."""
        stats = run.stats()
        told = any(w.role == "trainer" and w.weights is not None for w in stats.workers)
        return stats.step >= 4 and told

    run.wait_for(trained)
    run.stop("train")

    def settled():
        """No trainer takes trees, so the queue is full, and the heartbeat has said everything."""
        stats = run.stats()
        done = stats.trees.queued == 16 and stats.problems.leased == 0
        decoded = stats.tokens.decoded
        told = [worker.tokens for worker in run.samplers()] == [decoded]
        # The engine is measured between heartbeats, so what is said of it may be older.
        told = told and all(w.engine.decoded_tokens >= decoded for w in run.samplers())
        return stats if done and told and not stats.gradients.pending else None

    stats = run.wait_for(settled)
    workers = {worker.role: worker for worker in stats.workers}
    engine, weights = workers["sampler"].engine, workers["sampler"].weights
    assert engine.decoded_tokens == stats.tokens.decoded, "every token is in a tree"
    assert (engine.capacity, engine.running, engine.waiting) == (CAPACITY, 0, 0)
    assert 0 < engine.cached_tokens < engine.prompt_tokens
    assert 1 <= weights.activations <= stats.version
    assert 0 < weights.last_pause_seconds <= weights.pause_seconds
    assert 0 < workers["trainer"].weights.activations <= stats.version
    check_delays(sampler, weights, stats)
    size = sum(file.size for file in run.client.manifest(stats.version).files)
    fetched = weights.bytes + workers["trainer"].weights.bytes
    assert 0 < fetched <= (stats.version + 1) * size, "once for both, they share a machine"


def check_delays(sampler, weights, stats):
    delays = list(sampler.weights.delays)
    versions = [delay.version for delay in delays]
    assert versions == sorted(set(versions))
    assert 1 <= versions[-1] <= stats.version
    assert weights.last == delays[-1]
    for delay in delays:
        parts = (delay.notice, delay.staging, delay.activation, delay.first_token)
        assert min(parts) >= 0 < min(parts[1:])
        assert sum(parts) == pytest.approx(delay.total)
        assert delay.total < stats.elapsed_seconds
