"""`ralo show rollouts` draws trees, and nothing in them moves the terminal's cursor."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ralo.views.rollouts import printable, rollout_table, rollout_tree
from ralo_core.messages.rollouts import Rollout, RolloutSummary
from ralo_core.structuring import structure_reply


def segment(**fields):
    return {"logprobs": [], "pieces": [], **fields}


ROLLOUT = {
    "number": 17, "version": 3, "step": None, "prompt": "What is [b]1+1[/b]?", "prompt_tokens": 9,
    "temperature": 1.0, "problem": {"id": "sum-1", "prompt": "", "answer": "2", "metadata": {}},
    "segments": [
        segment(index=0, parent=-1, version=3, tokens=4, text="Let me see\x1b[2J", logprob=-0.25,
                advantage=None),
        segment(index=1, parent=0, version=4, tokens=2, text="it is 2", logprob=-1.75,
                advantage=0.5),
        segment(index=2, parent=0, version=4, tokens=0, text="", logprob=None, advantage=-0.5),
    ],
    "leaves": [
        {"segment": 1, "finish_reason": "eos", "reward": 1.5, "rewards": {"math": 1.0},
         "tokens": 6},
        {"segment": 2, "finish_reason": "length", "reward": 0.0, "rewards": {}, "tokens": 4},
    ],
}  # fmt: skip
"""As the server sends it."""


def rollout():
    return structure_reply(ROLLOUT, Rollout)


def drawn(renderable, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable, highlight=False)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_tree_is_drawn_with_its_numbers_texts_and_leaves():
    lines = [line for line in drawn(rollout_tree(rollout(), 0)) if line]
    assert lines == [
        "rollout 17  problem sum-1  version 3  not trained on yet  answer 2",
        "What is [b]1+1[/b]?",
        "└── v3  4 tokens  log-prob -0.25",
        "    Let me see\\x1b[2J",
        "    ├── v4  2 tokens  log-prob -1.75  advantage +0.50",
        "    │   it is 2",
        "    │   └── ● reward 1.5 (math 1)  eos  6 tokens",
        "    └── v4  0 tokens  advantage -0.50",
        "        └── ● reward 0  length  4 tokens",
    ]


def test_long_texts_are_cut_where_it_is_asked_for():
    lines = drawn(rollout_tree(rollout(), 6))
    assert "    Let me…" in lines
    assert "    │   it is …" in lines


def test_a_table_of_rollouts_fits_a_narrow_terminal():
    row = {
        "number": 12345, "problem_id": "p", "prompt": "a\nlong prompt " * 20, "step": 1234,
        "version": 1234, "leaves": 8, "reward": 0.5, "solved": None, "tokens": 123456, "depth": 12,
        "state": "trained", "time": 1.0,
    }  # fmt: skip
    for width in (80, 160):
        heading, line = drawn(rollout_table([structure_reply(row, RolloutSummary)], width), width)
        assert len(line) <= width
        for word in ("12345", "1234", "0.500", "123,456", "trained", "a long"):
            assert word in line
        assert "solved" in heading


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert printable("Grüße, 世界\n") == "Grüße, 世界\n"
