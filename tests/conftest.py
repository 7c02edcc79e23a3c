"""What tests of the whole system share: an untrained model, a reward that tells its texts apart."""

import fcntl
import os

import pytest


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The embedded model without warm-up: random weights, right format. Made once on a machine."""
    from ralo_tasks.tiny_model.model import make_tiny_model  # imports torch

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes of this run of the suite
    with (folder / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_tiny_model(folder / "tiny", seed=0, warmup_steps=0)
    return folder / "tiny"


@pytest.fixture
def own_reward(tmp_path, monkeypatch):
    """Settings of a reward that tells even an untrained model's responses apart."""
    (tmp_path / "telling.py").write_text(
        "def digits(problem, answers):\n"
        "    return [sum(map(str.isdigit, a.text)) / a.tokens for a in answers]\n"
    )
    monkeypatch.chdir(tmp_path)  # a function of the user's own is found in the current directory
    return ("reward.pipeline=['function']", "reward.function.path=telling:digits")
