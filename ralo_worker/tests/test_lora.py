"""Trainer and transformers engine on a model with an adapter, held to peft on the same files."""

import asyncio

import numpy as np
import pytest
import torch
from computing import gradient_over
from lora_models import save_version, with_adapter
from safetensors.torch import load_file, save_file
from small_models import one_batch, random_tree, small_model

from ralo_core import BuildContext, GenerationRequest, RaloError
from ralo_core.config import RegularisationSettings
from ralo_tasks.tiny_model.tokenizer import make_tokenizer
from ralo_worker.engines.transformers.engine import TransformersEngine
from ralo_worker.engines.transformers.settings import TransformersSettings
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.model import WithoutAdapter, open_model
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.layout.rows import make_rows
from ralo_worker.weights.loading import load_weights

torch.set_num_threads(1)

CONTEXT = BuildContext(role="trainer")
LOSS = ClipLoss(ClipSettings(), CONTEXT)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = tmp_path_factory.mktemp("base")
    small_model(eos_token_id=1).save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def version_of(base, tmp_path_factory):
    """Return a function seed -> a version's directory, and peft's model of it."""

    def make(seed, **options):
        adapted = with_adapter(small_model(eos_token_id=1), seed, **options)
        directory = tmp_path_factory.mktemp("version") / str(seed)
        return save_version(adapted, base, directory), adapted

    return make


@pytest.fixture(scope="module")
def version(version_of):
    return version_of(0)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    trees = [random_tree(rng, leaves) for leaves in (1, 4, 6)]
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    return make_rows(trees, advantages)


def batch_of(rows):
    (batch,) = one_batch(rows)
    return batch


def policy_logprobs(model, batch):
    policy = model if isinstance(model, WithoutAdapter) else Policy(model)
    return policy(batch)[0]


def gradient_by_peft(adapted, rows):
    """The gradient of peft's own model, by the names of the file that peft saves."""
    adapted.zero_grad()
    total, normaliser, _ = LOSS.loss(*scored(adapted, batch_of(rows)))
    (total / normaliser).backward()
    return {
        name.replace(".default", ""): parameter.grad
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad
    }


def scored(model, batch):
    return policy_logprobs(model, batch), batch.loss_batch


def test_gradients_are_pefts_under_the_names_that_peft_saves(version, rows):
    directory, adapted = version
    model = open_model(directory)
    gradient = gradient_over(Policy(model), LOSS, one_batch(rows))
    saved = load_file(directory / "adapter_model.safetensors")
    assert gradient.tensors.keys() == saved.keys()
    expected = gradient_by_peft(adapted, rows)
    for name, value in gradient.tensors.items():
        assert value.shape == saved[name].shape
        assert (value - expected[name]).norm() < 1e-5 * expected[name].norm(), name


def test_a_trainer_holds_the_base_in_the_asked_dtype_and_trains_float32(version, rows):
    directory, _ = version
    model = open_model(directory, torch.bfloat16)
    dtypes = {p.requires_grad: set() for p in model.parameters()}
    for parameter in model.parameters():
        dtypes[parameter.requires_grad].add(parameter.dtype)
    assert dtypes == {True: {torch.float32}, False: {torch.bfloat16}}
    saved = load_file(directory / "adapter_model.safetensors")
    for name, value in model.state_dict().items():
        if "lora_" in name:
            published = f"base_model.model.{name.replace('.default', '')}"
            assert torch.equal(value, saved[published]), "not through bfloat16"


def test_log_probs_of_a_base_in_bfloat16_are_near_those_in_float32(version, rows):
    """What importance ratios are off by where sampler and trainer hold the base differently."""
    directory, adapted = version
    batch = batch_of(rows)
    mask = batch.loss_batch.mask
    with torch.no_grad():
        expected = policy_logprobs(adapted, batch)[mask]
        exact = policy_logprobs(open_model(directory), batch)[mask]
        coarse = policy_logprobs(open_model(directory, torch.bfloat16), batch)[mask]
    assert (exact - expected).abs().max() < 1e-5
    assert 1e-6 < (coarse - expected).abs().mean() < 0.02


def test_new_weights_go_into_the_open_model(version_of, rows):
    (first, _), (second, adapted) = version_of(1), version_of(2)
    model = open_model(first)
    load_weights(model, second)
    batch = batch_of(rows)
    with torch.no_grad():
        expected = policy_logprobs(adapted, batch)
        torch.testing.assert_close(policy_logprobs(model, batch), expected, rtol=1e-5, atol=1e-5)


def test_the_reference_of_a_kl_is_the_base_and_the_gradient_still_the_adapters(version, rows):
    directory, _ = version
    model, plain = open_model(directory), small_model(eos_token_id=1)
    batch = batch_of(rows)
    policy = Policy(model)
    without = WithoutAdapter(policy)
    with torch.no_grad():
        expected = policy_logprobs(plain, batch)
        torch.testing.assert_close(policy_logprobs(without, batch), expected, rtol=1e-5, atol=1e-5)
    gradients = [
        gradient_over(
            policy, LOSS, one_batch(rows), regulariser=Regulariser(
                settings=RegularisationSettings(kl=0.5), loss=LOSS, reference=reference
            )
        )
        for reference in (without, Policy(plain))
    ]  # fmt: skip
    assert gradients[0].metrics["reference_kl"] > 1e-3
    for name, value in gradients[0].tensors.items():
        torch.testing.assert_close(value, gradients[1].tensors[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "missing: base_model.model.model.layers"),
        ("more", "not in the model: base_model.model.lm_head"),
        ("wide", r"wrong shape: .* \[9, 32\] instead of \[4, 32\]"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_whoever_opens_it(
    version, tmp_path, fault, message
):
    directory, adapted = version
    broken = save_version(adapted, directory, tmp_path / "broken")
    tensors = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in tensors if name.endswith("q_proj.lora_A.weight"))
    if fault == "missing":
        del tensors[name]
    elif fault == "more":
        tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(4, 32)
    else:
        tensors[name] = torch.zeros(9, 32)
    model = open_model(directory)
    save_file(tensors, broken / "adapter_model.safetensors")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RaloError, match=message):
        load_weights(model, broken)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    if fault == "wide":  # transformers notices by itself
        message = f"cannot open the model in {broken}"
    for opening in (open_model, engine_on):
        with pytest.raises(RaloError, match=message):
            opening(broken)


def engine_on(directory):
    context = BuildContext(role="sampler", model_dir=directory)
    return TransformersEngine(TransformersSettings(max_batch=4), context)


@torch.no_grad()
def teacher_forced(model, prompt, tokens):
    logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(tokens)), torch.as_tensor(tokens).long()]


def test_the_engine_answers_with_the_adapter_that_it_was_given_last(version_of):
    versions = [version_of(seed) for seed in (3, 4)]
    engine = engine_on(versions[0][0])
    wanted = [GenerationRequest(prompt=(5, 9, 2 + n), max_tokens=20) for n in range(8)]

    async def scenario():
        for number, (directory, adapted) in enumerate([versions[0], *versions[::-1]]):
            if number:
                await engine.load_weights(number, directory)
            for request, done in zip(wanted, await engine.generate(wanted), strict=True):
                expected = teacher_forced(adapted, request.prompt, done.tokens)
                assert np.abs(done.logprobs - expected.numpy()).max() < 1e-4
                assert done.version == number
        await engine.close()

    asyncio.run(scenario())
