"""Running out of memory makes micro-batches smaller and changes no gradient."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from out_of_memory_case import computation, trees
from patience import PATIENCE
from safetensors.torch import load_file

from ralo_core import RaloError

torch.set_num_threads(1)
HERE = Path(__file__).parent
TOKENS, ROW, FEW = 338, 64, 50
"""Tokens of the whole batch, in one sequence, and of a row by itself; words that fit anywhere."""


def gradient_within(mib, output):
    """Two gradients of the same batch, by a process that may take so much more memory."""
    command = [sys.executable, str(HERE / "gradient_within.py"), str(mib), str(output)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )


def assert_same(found, expected):
    for name, value in expected.items():
        assert (found[name] - value).norm() / value.norm() < 1e-5, name


def test_an_allocation_that_fails_halves_the_micro_batch(tmp_path):
    expected = computation().gradient(trees(), 0)
    done = gradient_within(150, tmp_path / "gradient.safetensors")
    assert done.returncode == 0, done.stderr
    before, after = done.stderr.split("first gradient done")
    assert f"out of memory with {TOKENS} tokens in one forward pass" in before
    assert f"with {TOKENS} tokens" not in after, "it is not tried again with every batch"
    assert_same(load_file(tmp_path / "gradient.safetensors"), expected.tensors)


def test_where_not_even_a_row_fits_it_is_said_what_helps(tmp_path):
    done = gradient_within(20, tmp_path / "gradient.safetensors")
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert f"a sequence of {ROW} tokens does not fit the memory" in last
    assert "trainer.checkpoint_layers" in last


def failing(computing, most, error, begin=0):
    """Let every forward pass of more than `most` tokens, from the `begin`-th on, fail with `error`;
    return their sizes."""
    sizes = []

    def check(_module, inputs, _output):
        sizes.append(inputs[0].numel())
        if sizes[-1] > most and len(sizes) > begin:
            raise error

    computing.objective.policy.model.model.embed_tokens.register_forward_hook(check)
    return sizes


def small(*settings):
    return computation(*settings, words=FEW)


@pytest.mark.parametrize("offloaded", ["true", "false"])
@pytest.mark.parametrize("pipeline", ["[]", "['m2po']"])
def test_what_was_added_up_before_the_failure_is_dropped(offloaded, pipeline):
    """As a GPU fails; the surveying correction makes a forward pass before the gradient's."""
    batch = trees(FEW)
    settings = (
        f"trainer.offload_gradients={offloaded}",
        f"correction.pipeline={pipeline}",
        "trainer.shared_tokens=0",
    )
    expected = small(*settings).gradient(batch, 0)
    computing = small(*settings, f"trainer.microbatch_tokens={6 * ROW}")
    sizes = failing(computing, 4 * ROW, torch.OutOfMemoryError("CUDA out of memory"), 1)
    found = computing.gradient(batch, 0)
    assert sizes[:2] == [6 * ROW, 6 * ROW], "the second one failed"
    assert computing.budget.tokens == 3 * ROW
    assert found.weight == expected.weight
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-4)
    assert_same(found.tensors, expected.tensors)
    del sizes[:]
    assert_same(computing.gradient(batch, 0).tensors, expected.tensors)
    assert max(sizes) == 3 * ROW, "the smaller budget is remembered"


def test_another_error_is_not_taken_for_it():
    computing = small()
    failing(computing, 1, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        computing.gradient(trees(FEW), 0)
    assert computing.budget.tokens == 16384


def test_a_plan_does_not_depend_on_what_a_rank_has_learnt():
    """Ranks take shares of the plan, so theirs must be the same."""
    computing = small()
    batch = trees(FEW)
    before = [pack.tokens.tolist() for pack in computing.planner.plan(batch).packs]
    computing.budget.tokens = ROW
    assert [pack.tokens.tolist() for pack in computing.planner.plan(batch).packs] == before


def test_a_single_row_that_fails_ends_it():
    computing = small("trainer.shared_tokens=0", f"trainer.microbatch_tokens={ROW}")
    failing(computing, 1, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RaloError, match=f"a sequence of {ROW} tokens"):
        computing.gradient(trees(FEW), 0)
