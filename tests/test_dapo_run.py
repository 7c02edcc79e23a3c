"""The recipe `dapo` over loopback: no trainer gets a group that is all right or all wrong."""

import pytest
from served_run import ServedRun

BATCH, STEPS = 4, 3
SETTINGS = (
    "server.port=0", "sampling.grpo.group=2", "sampling.grpo.max_tokens=24", "sampler.threads=1",
    "trainer.threads=1", f"trainer.batch_trees={BATCH}", "server.queued_trees=8",
    "evaluation.problems=0", "reward.pipeline=['function', 'overlong']",
    "reward.function.path=telling:odd", "reward.overlong.max_tokens=20",
    "reward.overlong.buffer_tokens=18", "server.lease_seconds=600",
)  # fmt: skip
"""Groups of two are often all right or all wrong, and hardly ever of one length."""


@pytest.fixture
def dapo(model, tmp_path, monkeypatch):
    """A served run of an untrained model whose answers are right by chance."""
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "telling.py").write_text(
        "def odd(problem, answers):\n"
        "    return [float(sum(map(str.isdigit, a.text)) % 2) for a in answers]\n"
    )
    monkeypatch.chdir(tmp_path)  # where the reward is found, by the processes too
    run = ServedRun(tmp_path, f"run.model={model}", *SETTINGS, recipe="dapo")
    yield run
    run.close()


@pytest.mark.slow
def test_every_batch_is_full_of_groups_with_right_and_wrong_answers(dapo):
    dapo.start("sample", "--server", dapo.url)
    batches = [dapo.wait_for(lambda: dapo.client.batch(1.0)) for _ in range(6)]
    for batch in batches:
        assert len(batch.trees) == BATCH
        for tree in batch.trees:
            assert sorted(tree.reward_parts["function"]) == [0, 1]
            assert tree.rewards[0] != tree.rewards[1]
    trees = dapo.stats()["trees"]
    assert trees["leased"] == 6 * BATCH
    assert trees["skipped"] == trees["skipped_since_step"] > 0
    dapo.client.release([batch.id for batch in batches], "returned")


@pytest.mark.slow
def test_steps_are_taken_on_full_batches_and_count_what_was_skipped(dapo):
    dapo.start("sample", "--server", dapo.url)
    dapo.start("train", "--server", dapo.url)
    dapo.wait_for(lambda: dapo.stats()["step"] >= STEPS)
    for role in ("sample", "train"):
        dapo.stop(role)
    dapo.wait_for(lambda: dapo.stats()["gradients"]["pending"] == 0)
    stats = dapo.stats()
    steps = stats["steps"]
    assert len(steps) == stats["step"] >= STEPS
    assert {(step["trees"], step["rollouts"]) for step in steps} == {(BATCH, 2 * BATCH)}
    skipped = sum(step["skipped_trees"] for step in steps)
    assert skipped > 0
    assert skipped + stats["trees"]["skipped_since_step"] == stats["trees"]["skipped"]
    assert stats["batches"]["empty"] == 0
    assert stats["rollouts"]["trained"] == len(steps) * 2 * BATCH
