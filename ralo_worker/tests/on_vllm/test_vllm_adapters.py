"""vLLM's answers with an adapter are those of peft, before and after the adapter is replaced."""

import asyncio
import copy

import numpy as np
import pytest
from lora_models import save_version, with_adapter
from safetensors.torch import load_file, save_file

from ralo_core import GenerationRequest, RaloError

CLOSE = 1e-3
"""fp32 against fp32; the base, or another adapter, is off by far more."""
PROMPTS = [tuple(2 + (first * n) % 61 for n in range(1, 97)) for first in range(2, 8)]


@pytest.fixture(
    scope="module",
    params=[("tied", "continue"), ("tied", "keep_going"), ("untied", "finish")],
    ids="-".join,
)
def bench(request, models, opened, settings_of, tmp_path_factory):
    """An engine on adapter 0, its policy, and the versions with adapters 0 and 1."""
    tied, policy = request.param
    base, model = models(0, tied == "tied")
    versions = []
    for seed in (0, 1):
        adapted = with_adapter(copy.deepcopy(model), seed)
        directory = tmp_path_factory.mktemp(f"{tied}-{policy}") / f"v{seed}"
        versions.append((save_version(adapted, base, directory), adapted))
    return opened(versions[0][0], settings_of(policy, max_num_seqs=8)), policy, versions


def test_answers_are_those_of_peft_with_the_adapter_that_was_loaded_last(bench, teacher_forced):
    engine, _, versions = bench
    wanted = [GenerationRequest(prompt=p, max_tokens=12, temperature=0.0) for p in PROMPTS]

    async def scenario():
        for turn, (directory, adapted) in enumerate([versions[0], *versions[::-1]]):
            if turn:
                await engine.load_weights(engine.version + 1, directory)
            before = engine.stats().cached_tokens
            answers = await engine.generate(wanted)
            assert engine.stats().cached_tokens == before, "nothing of the old adapter is reused"
            for prompt, done in zip(PROMPTS, answers, strict=True):
                expected = teacher_forced(adapted, prompt, done.tokens)
                assert np.abs(done.logprobs - expected).max() < CLOSE
                assert done.version == engine.version

    asyncio.run(scenario())


def test_running_requests_go_on_with_the_new_adapter_unless_they_are_to_finish(
    bench, teacher_forced
):
    engine, policy, versions = bench
    wanted = [
        GenerationRequest(prompt=(*PROMPTS[n % 6][:40], 2 + n), max_tokens=100) for n in range(24)
    ]

    async def scenario():
        await engine.load_weights(engine.version + 1, versions[0][0])
        start = engine.stats().decoded_tokens
        call = asyncio.ensure_future(engine.generate(wanted))
        while engine.stats().decoded_tokens < start + 8 * 20:
            await asyncio.sleep(0.001)
        await engine.load_weights(engine.version + 1, versions[1][0])
        return await call

    changed = 0
    for request, done in zip(wanted, asyncio.run(scenario()), strict=True):
        first, second = (
            np.abs(done.logprobs - teacher_forced(adapted, request.prompt, done.tokens)) < CLOSE
            for _, adapted in versions
        )
        by_old = int(np.argmin([*first, False]))
        changed += 0 < by_old < len(done.tokens)
        if policy != "keep_going":  # there the keys and values before are of the old adapter
            assert second[by_old:].all()
    assert (changed == 0) == (policy == "finish"), f"{changed} requests saw the change"


def test_an_adapter_that_does_not_fit_changes_nothing(bench, tmp_path, teacher_forced):
    engine, _, versions = bench
    directory, adapted = versions[0]
    broken = save_version(adapted, directory, tmp_path / "broken")
    tensors = load_file(broken / "adapter_model.safetensors")
    tensors.popitem()
    save_file(tensors, broken / "adapter_model.safetensors")

    async def scenario():
        await engine.load_weights(engine.version + 1, directory)
        with pytest.raises(RaloError, match="do not fit the running model: missing"):
            await engine.load_weights(engine.version + 1, broken)
        return await engine.generate([GenerationRequest(prompt=PROMPTS[0], max_tokens=12)])

    (done,) = asyncio.run(scenario())
    expected = teacher_forced(adapted, PROMPTS[0], done.tokens)
    assert np.abs(done.logprobs - expected).max() < CLOSE


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (4, 8), (512, 512)])
def test_vllm_gets_room_for_the_rank_and_no_more_than_it_must_have(tmp_path, rank, room):
    from ralo_worker.engines.vllm.adapters import adapter_arguments

    assert adapter_arguments(tmp_path) == {}
    (tmp_path / "adapter_config.json").write_text(f'{{"r": {rank}}}')
    arguments = {"enable_lora": True, "max_loras": 1, "max_lora_rank": room}
    assert adapter_arguments(tmp_path) == arguments


def test_a_rank_beyond_vllms_is_refused(tmp_path):
    from ralo_worker.engines.vllm.adapters import adapter_arguments

    (tmp_path / "adapter_config.json").write_text('{"r": 513}')
    with pytest.raises(RaloError, match="rank 512 at most, not 513; set lora.rank lower"):
        adapter_arguments(tmp_path)
