"""The embedded model: what it is taught, the same for a seed, made once, in the standard format."""

from random import Random

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ralo_tasks.arithmetic import is_held_out, verify
from ralo_tasks.tiny_model.model import _batch, is_tiny_model, make_tiny_model, taught
from ralo_tasks.tiny_model.tokenizer import make_tokenizer


def test_the_careful_teacher_adds_and_the_careless_one_forgets_to_carry():
    assert taught(Random(0), (17, 25, 38), careless=0.0) == "17+25=42;42+38=80;#80"
    assert taught(Random(0), (17, 25, 38), careless=1.0) == "17+25=32;32+38=60;#60"
    assert taught(Random(0), (95, 25, 38), careless=1.0) == "95+25=110;110+38=148;#148"
    mixed = [taught(Random(seed), (17, 25, 38), careless=0.7) for seed in range(200)]
    right = sum(verify(text, "80") for text in mixed)
    assert 0 < right < 60, "0.3 * 0.3 of them are right"


def test_no_held_out_question_is_ever_taught():
    tokenizer, random = make_tokenizer(), Random(3)
    for _ in range(20):
        inputs, labels = _batch(tokenizer, random, 64, careless=0.0)
        for row, label in zip(inputs, labels, strict=True):
            question = tokenizer.decode(row[label == -100], skip_special_tokens=True)
            assert not is_held_out([int(term) for term in question.rstrip(":").split("+")])


def test_a_model_is_the_same_for_a_seed_made_once_and_opened_by_anybody(tmp_path):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    assert make_tiny_model(one, seed=1, warmup_steps=3)
    assert not make_tiny_model(one, seed=1, warmup_steps=3)
    assert make_tiny_model(two, seed=1, warmup_steps=3)
    assert make_tiny_model(other, seed=2, warmup_steps=3)
    assert is_tiny_model(one)
    weights, same, different = (load_file(d / "model.safetensors") for d in (one, two, other))
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    assert any(not torch.equal(value, different[name]) for name, value in weights.items())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(one), AutoTokenizer.from_pretrained(one)
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000
    text = "17+25 안녕 🙂"
    assert tokenizer.decode(tokenizer.encode(text)) == text
