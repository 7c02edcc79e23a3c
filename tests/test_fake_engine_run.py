"""Real samplers, a real orchestrator and a real trainer, with the fake engine in between."""

import pytest
from test_training_run import ralo, run_options, steps_of


@pytest.mark.slow
def test_a_run_samples_evaluates_and_follows_the_weights_on_the_fake_engine(
    model, tmp_path, own_reward
):
    run_dir = tmp_path / "run"
    settings = ("engine.use=fake", "run.max_steps=3", "evaluation.every_steps=1", *own_reward)
    output = ralo(*run_options(model, run_dir, "treepo", *settings))
    assert "finished after 3 steps" in output
    steps = steps_of(run_dir)
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert steps[-1]["staleness"] < 3, "the sampler took the versions that were published"
