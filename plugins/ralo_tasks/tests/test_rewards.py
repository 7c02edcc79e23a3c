"""The built-in rewards score text and nothing else."""

from pathlib import Path

import pytest

from ralo_core import BuildContext, ConfigError, Problem, RaloError, Response
from ralo_core.testing import structure
from ralo_tasks.final_answer import how_to_answer
from ralo_tasks.rewards.basic import (
    ArithmeticReward,
    ExactReward,
    ExactSettings,
    FormatReward,
    FormatSettings,
    FunctionReward,
    FunctionSettings,
    OverlongReward,
    OverlongSettings,
)
from ralo_tasks.rewards.choice import ChoiceReward, ChoiceSettings

CONTEXT = BuildContext(role="sampler")


def scores(reward, reference, *texts, **metadata):
    responses = [Response(text=text, finish_reason="eos", tokens=1) for text in texts]
    problem = Problem(id="p", prompt="?", answer=reference, metadata=metadata)
    return reward.score(problem, responses)


def test_arithmetic_scores_the_number_behind_the_last_mark():
    reward = ArithmeticReward(None, CONTEXT)
    assert scores(reward, "80", "17+25=42;42+38=80;#80", "#8", "80", "#80#") == [1, 0, 0, 0]


def test_exact_compares_whole_texts_and_ignores_outer_space_by_default():
    reward = ExactReward(ExactSettings(), CONTEXT)
    assert scores(reward, "서울", " 서울\n", "서울이다", "") == [1, 0, 0]
    strict = ExactReward(ExactSettings(strip=False), CONTEXT)
    assert scores(strict, "a", "a", "a ") == [1, 0]


def test_exact_ignores_case_on_request():
    assert scores(ExactReward(ExactSettings(), CONTEXT), "Paris", "PARIS") == [0]
    assert scores(ExactReward(ExactSettings(ignore_case=True), CONTEXT), "Paris", "PARIS") == [1]


def test_exact_takes_the_last_match_of_its_pattern():
    reward = ExactReward(ExactSettings(pattern=r"<answer>(.*?)</answer>"), CONTEXT)
    texts = ["<answer>1</answer> no: <answer>2</answer>", "2", "<answer>1</answer>"]
    assert scores(reward, "2", *texts) == [1, 0, 0]


def test_exact_gives_nothing_for_an_optional_group_that_did_not_match():
    reward = ExactReward(ExactSettings(pattern=r"x(\d)?"), CONTEXT)
    assert scores(reward, "", "x") == [0]


def test_exact_compares_an_item_of_a_benchmark_as_the_item_says():
    reward = ExactReward(ExactSettings(pattern="never (.)", strip=False), CONTEXT)
    texts = [r"so \boxed{New  york.}", "New York", r"\boxed{York}", ""]
    assert scores(reward, "New York", *texts, **how_to_answer("boxed")) == [1, 0, 0, 0]
    assert scores(reward, "New York", *texts, **how_to_answer("whole")) == [0, 1, 0, 0]
    assert scores(reward, "1018", "it is 1,018.0", "8", **how_to_answer("number")) == [1, 0]
    assert scores(reward, "025", "it is 25", "", **how_to_answer("number")) == [1, 0]
    assert scores(reward, "$1,000$", r"\boxed{1000}", "", **how_to_answer("boxed")) == [1, 0]
    assert scores(reward, "{x", r"\boxed{x}", "", **how_to_answer("boxed")) == [0, 0]
    assert scores(reward, "02134", "2134", "02134", **how_to_answer("whole")) == [0, 1]
    assert scores(reward, "(c)", "Answer: C", "", **how_to_answer("choice")) == [1, 0]
    assert scores(reward, "b", "never b", extract="no such way") == [1]


def test_choice_scores_the_letter_that_an_answer_chooses():
    reward = ChoiceReward(ChoiceSettings(), CONTEXT)
    texts = [r"\boxed{B}", "Answer: B", "(B)", "Answer: A", "B is good", "", "A man. I"]
    assert scores(reward, "B", *texts) == [1, 1, 1, 0, 0, 0, 0]
    assert scores(reward, "(b)", "Answer: B") == [1]
    assert scores(reward, "Paris", "Paris", "") == [0, 0]


def test_choice_has_the_letters_of_the_problem_or_else_its_own():
    reward = ChoiceReward(ChoiceSettings(letters="ABI"), CONTEXT)
    assert scores(reward, "I", "Answer: I") == [1]
    assert scores(reward, "C", "Answer: C") == [0]
    assert scores(reward, "C", "Answer: C", **how_to_answer("choice", "ABCD")) == [1]
    assert scores(reward, "I", "Answer: B. (I)", letters=["I"]) == [0]
    with pytest.raises(ConfigError, match="reward.choice.letters: must be capital letters"):
        structure({"letters": "a-d"}, ChoiceSettings, "reward.choice")


def test_format_must_match_the_whole_response():
    reward = FormatReward(FormatSettings(pattern="<think>.*</think>.+"), CONTEXT)
    texts = ["<think>a\nb</think>c", "<think>a</think>", "so <think>a</think>c"]
    assert scores(reward, "", *texts) == [1, 0, 0]


def test_overlong_falls_on_a_straight_line():
    reward = OverlongReward(OverlongSettings(max_tokens=100, buffer_tokens=20), CONTEXT)
    responses = [Response(text="", finish_reason="eos", tokens=n) for n in (1, 80, 85, 100, 999)]
    problem = Problem(id="p", prompt="?", answer="")
    assert reward.score(problem, responses) == [0, 0, -0.25, -1, -1]


def test_a_function_of_the_current_directory_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("length_reward.py").write_text(
        "def score(problem, responses):\n"
        "    return [len(response.text) / len(problem.answer) for response in responses]\n"
        "def short(problem, responses):\n    return [1.0]\n"
        "def nan(problem, responses):\n    return [float('nan')] * len(responses)\n"
        "number = 3\n"
    )
    reward = FunctionReward(FunctionSettings(path="length_reward:score"), CONTEXT)
    assert scores(reward, "1234", "12", "1234") == [0.5, 1.0]
    for name in ("short", "nan"):
        broken = FunctionReward(FunctionSettings(path=f"length_reward:{name}"), CONTEXT)
        with pytest.raises(RaloError, match=f"length_reward:{name} must return one finite number"):
            scores(broken, "1", "a", "b")
    with pytest.raises(RaloError, match="is a int, not a function"):
        FunctionReward(FunctionSettings(path="length_reward:number"), CONTEXT)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("", "expected 'module:function'"),
        ("json.dumps", "expected 'module:function'"),
        ("no_such_module:f", "cannot be imported: No module named 'no_such_module'; install"),
        ("json:no_such", "cannot be imported: module 'json' has no attribute 'no_such'"),
    ],
)
def test_a_function_that_cannot_be_imported_is_named(path, complaint):
    with pytest.raises(RaloError, match=complaint):
        FunctionReward(FunctionSettings(path=path), CONTEXT)
