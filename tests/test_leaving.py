"""Samplers that are told to end, as processes: by an operator, a terminal, a scheduler."""

import signal

import pytest
from patience import PATIENCE
from served_run import ServedRun


@pytest.fixture
def run(model, tmp_path, own_reward, monkeypatch):
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    settings = ("server.port=0", "engine.use=fake", "evaluation.problems=0",
                "server.queued_trees=100000", "server.lease_seconds=3600")  # fmt: skip
    started = ServedRun(tmp_path, f"run.model={model}", *settings, *own_reward)
    yield started
    started.close()


@pytest.mark.slow
def test_a_sampler_that_is_told_to_end_leaves_nothing_behind(run):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        before = run.stats()
        run.start("sample", "--server", run.url)

        def at_work(before=before):
            stats = run.stats()
            return stats["problems"]["leased"] and stats["trees"]["queued"] > (
                before["trees"]["queued"] + 5
            )

        run.wait_for(at_work)
        (name,) = [name for name in run.processes if name.startswith("sample")]
        process = run.processes.pop(name)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0, run.logs()
        stats = run.stats()
        assert stats["problems"]["leased"] == 0, "its leases would last for an hour"
        assert stats["problems"]["failed"] == 0
        assert {worker["state"] for worker in stats["workers"]} == {"left"}
        done = stats["problems"]["done"]
        assert done == stats["trees"]["queued"], "every tree that was counted is there"
    assert len(run.stats()["workers"]) == 3
