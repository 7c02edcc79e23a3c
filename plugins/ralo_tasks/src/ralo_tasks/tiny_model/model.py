"""The embedded model: a Qwen2 of 0.74 M parameters, warmed up on chained additions.

Like a base model, it can more than it does: it is taught to add, and then by a careless teacher
who mostly forgets to carry (``17+25=32``), so greedy decoding forgets, too. That carrying pays
is left to reinforcement learning. Questions held out for evaluation are never taught.

``ralo run`` uses it as long as no ``run.model`` is set.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_tasks.arithmetic import is_held_out, make_terms, question
from ralo_tasks.tiny_model.tokenizer import make_tokenizer

log = logging.getLogger(__name__)

WARMUP_STEPS = 1500
"""An upper bound; careful teaching ends when the model can add, after some 500 to 950 steps."""
_BATCH, _LEARNING_RATE, _TERMS, _DIGITS = 32, 4e-3, 3, 2
_RISE, _CARELESS_STEPS = 200, 120
_PROBE, _PROBE_EVERY, _ENOUGH = 256, 10, 0.5
_CARELESS = 0.7
"""The share of additions in which the careless teacher forgets to carry."""
_MARKER = "ralo_tiny.json"
_FORMAT = 5
_THREADS = 2
"""Fixed, because the number of threads changes the order of sums and so the weights."""


def make_tiny_model(directory: Path, seed: int, warmup_steps: int = WARMUP_STEPS) -> bool:
    """Write the model to `directory` unless the same one is there; return whether it was made.

    The weights are a function of `seed` and `warmup_steps` on one kind of machine.
    """
    marker = {"format": _FORMAT, "seed": seed, "warmup_steps": warmup_steps}
    if _read_marker(directory) == marker:
        return False
    tokenizer = make_tokenizer()
    torch.set_num_threads(_THREADS)
    model = _new_model(seed, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    _warm_up(model, tokenizer, Random(f"warm-up {seed}"), warmup_steps)  # noqa: S311
    partial = directory.with_name(f"{directory.name}.part{os.getpid()}")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / _MARKER).write_text(json.dumps(marker))
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)  # so that nobody ever opens half a model
    return True


def is_tiny_model(directory: Path) -> bool:
    """Say whether `make_tiny_model` wrote this folder."""
    return _read_marker(directory) is not None


def _new_model(seed: int, vocabulary: int, eos: int, pad: int) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=5,
        num_key_value_heads=5,
        initializer_range=0.06,  # at the usual 0.02 a model this narrow starts to learn late
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=eos,
        pad_token_id=pad,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def _warm_up(model: Qwen2ForCausalLM, tokenizer: Any, random: Random, most: int) -> None:
    """Supervised training on worked solutions, loss on the answer only.

    Adding is learnt suddenly, at another step for every seed: the careful teacher goes on until
    half of a probe is right. The careless one follows while the learning rate comes down.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    probe = _batch(tokenizer, Random("probe"), _PROBE, careless=0.0)  # noqa: S311
    started, step, end = time.monotonic(), 0, most
    while step < end:
        careless = step >= end - _CARELESS_STEPS
        factor = min(
            (step + 1) / _RISE, (_RISE / (step + 1)) ** 0.5, (end - step) / _CARELESS_STEPS
        )
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * factor
        inputs, labels = _batch(tokenizer, random, _BATCH, _CARELESS if careless else 0.0)
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if not careless and step % _PROBE_EVERY == 0 and _share_right(model, *probe) >= _ENOUGH:
            end = min(most, step + _CARELESS_STEPS)
    right, seconds = _share_right(model, *probe), time.monotonic() - started
    log.info("warm-up: %d steps, %.0f s, %.0f %% of a probe right", step, seconds, 100 * right)


@torch.no_grad()
def _share_right(model: Qwen2ForCausalLM, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of answers that greedy decoding would write without a fault."""
    predicted, wanted = model(input_ids=inputs).logits[:, :-1].argmax(-1), labels[:, 1:]
    return float(((predicted == wanted) | (wanted == -100)).all(1).float().mean())


def _batch(tokenizer: Any, random: Random, size: int, careless: float) -> tuple[Tensor, Tensor]:
    """Return token ids and labels, int64[size, longest], padded at the right with -100."""
    rows: list[list[int]] = []
    prompts: list[int] = []
    while len(rows) < size:
        terms = make_terms(random, _TERMS, _DIGITS)
        if is_held_out(terms):
            continue
        prompt = tokenizer.encode(f"{question(terms)}:")
        rows.append(
            [*prompt, *tokenizer.encode(taught(random, terms, careless)), tokenizer.eos_token_id]
        )
        prompts.append(len(prompt))
    longest = max(map(len, rows))
    inputs = torch.full((size, longest), tokenizer.pad_token_id)
    labels = torch.full((size, longest), -100)
    for row, (tokens, prompt_length) in enumerate(zip(rows, prompts, strict=True)):
        inputs[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, prompt_length : len(tokens)] = torch.tensor(tokens[prompt_length:])
    return inputs, labels


def taught(random: Random, terms: Sequence[int], careless: float) -> str:
    """Return what the teacher writes; each addition is careless with that probability."""
    total, steps = terms[0], ""
    for term in terms[1:]:
        add = _without_carry if random.random() < careless else int.__add__
        steps += f"{total}+{term}={add(total, term)};"
        total = add(total, term)
    return f"{steps}#{total}"


def _without_carry(first: int, second: int) -> int:
    """Return the sum of a pupil who never carries, only writes the leading digits out."""
    if first < 10 or second < 10:
        return first + second
    units = (first + second) % 10
    return 10 * _without_carry(first // 10, second // 10) + units


def _read_marker(directory: Path) -> Any:
    try:
        return json.loads((directory / _MARKER).read_text())
    except (FileNotFoundError, ValueError):
        return None
