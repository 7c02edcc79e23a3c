"""What real processes say they have spent, against the wall clock."""

import time

import pytest
from patience import PATIENCE
from served_run import ServedRun

STEPS = 3


@pytest.fixture
def run(model, tmp_path, own_reward, monkeypatch):
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = ("server.port=0", f"run.max_steps={STEPS}", "evaluation.problems=8",
                "evaluation.every_steps=1", "trainer.threads=1", "sampler.threads=1")  # fmt: skip
    started = ServedRun(tmp_path, f"run.model={model}", *settings, *own_reward)
    yield started
    started.close()


def spent(roles, *names):
    return sum(roles[name]["working_seconds"] + roles[name]["waiting_seconds"] for name in names)


@pytest.mark.slow
def test_roles_account_for_the_lifetimes_of_their_processes(run):
    """A sampler is one device, and a trainer of two ranks is two."""
    began = time.monotonic()
    run.start("sample", "--server", run.url)
    run.start("train", "--server", run.url, "--nproc", "2")
    run.wait_for(lambda: len(run.stats()["workers"]) == 2)
    joined = time.monotonic()
    for name in [name for name in run.processes if not name.startswith("serve")]:
        assert run.processes.pop(name).wait(PATIENCE) == 0, run.logs()
    ended = time.monotonic()
    found = run.client.transport.request("GET", "/compute/stats").json()
    roles, stats = found["roles"], run.stats()
    for devices, names in ((1, ("sampler", "benchmark")), (2, ("trainer",))):
        assert 0.5 * (ended - joined) < spent(roles, *names) / devices < ended - began
        assert sum(roles[name]["workers"] for name in names) == 0, "they have left"
    assert roles["benchmark"]["working_seconds"] > 0
    assert roles["benchmark"]["tokens"] > 0
    assert roles["sampler"]["tokens"] >= stats["tokens"]["decoded"] > 0
    assert roles["trainer"]["tokens"] >= stats["tokens"]["trained"] > 0
    compute = [version["working_seconds"] for version in found["versions"]]
    assert len(compute) == STEPS
    assert sorted(compute) == compute
    assert 0 < compute[-1] <= spent(roles, "sampler", "trainer", "learner")
