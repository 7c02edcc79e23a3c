"""Prompts: templates, functions, and text of any script unharmed."""

import sys

import pytest

from ralo_core import Problem, RaloError
from ralo_core.config import PromptSettings
from ralo_tasks.tiny_model.tokenizer import make_tokenizer
from ralo_worker.prompting import Prompting

KOREAN = "세 자연수 $a, b, c$의 합이 {10}일 때, \\boxed{}에 답하시오. 🙂"
ENGLISH = "What is {x} if \\frac{1}{2}x = 3?"


def render(problem, **settings):
    tokenizer = make_tokenizer()
    prompting = Prompting(PromptSettings(**settings), tokenizer)
    text = tokenizer.decode(prompting.render(problem))
    assert text == prompting.text(problem)
    return text


@pytest.mark.parametrize("text", [KOREAN, ENGLISH])
def test_text_reaches_the_model_unharmed(text):
    problem = Problem(id="p", prompt=text, answer="1")
    assert render(problem) == f"{text}:"
    assert render(problem, system="답만 쓰시오.") == f"답만 쓰시오.\n{text}:"
    assert render(problem, template="plain", plain="Q: {prompt}\nA:") == f"Q: {text}\nA:"


def test_messages_keep_their_own_system_message():
    messages = [{"role": "system", "content": "own"}, {"role": "user", "content": "hi"}]
    problem = Problem(id="p", prompt=messages, answer="1")
    assert render(problem, system="default") == "own\nhi:"
    assert render(Problem(id="p", prompt=messages[1:], answer=""), system="s") == "s\nhi:"


def test_a_function_of_the_users_own_makes_the_prompt(tmp_path, monkeypatch):
    (tmp_path / "my_prompts.py").write_text(
        "def shout(problem):\n    return problem.prompt.upper()\n"
        "def broken(problem):\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    problem = Problem(id="p", prompt="hi", answer="1")
    assert render(problem, template="my_prompts:shout") == "HI"
    with pytest.raises(RaloError, match="must return text, got int"):
        render(problem, template="my_prompts:broken")
    with pytest.raises(RaloError, match="cannot be imported"):
        render(problem, template="my_prompts:absent")


def test_a_tokenizer_without_a_chat_template_is_named():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(RaloError, match="prompt.template = 'plain'"):
        Prompting(PromptSettings(), tokenizer)
