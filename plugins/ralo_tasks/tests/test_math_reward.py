"""The math reward: LaTeX, boxes, references of real data sets, and comparisons that never end."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from patience import wait_for

from ralo_core import BuildContext, Problem, Response
from ralo_tasks.final_answer import last_boxed
from ralo_tasks.records.jsonl import JsonlProvider, JsonlSettings
from ralo_tasks.rewards.math import MathReward
from ralo_tasks.rewards.settings import MathSettings

DATA = Path(__file__).parents[4] / "shared" / "data"
ENDLESS = r"\boxed{9^{9^{9^{9}}} + \frac{1}{9^{9^{9}}}}"


@pytest.fixture(scope="module")
def reward():
    """One grader for all: its process takes long to start."""
    made = MathReward(MathSettings(timeout_seconds=60.0), BuildContext(role="sampler"))
    yield made
    made.close()


def score(reward, reference, *texts):
    problem = Problem(id="p", prompt="?", answer=reference)
    responses = [Response(text=text, finish_reason="eos", tokens=1) for text in texts]
    return reward.score(problem, responses)


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ("204", r"so the walk takes \boxed{204} minutes", 1.0),
        ("204", r"\boxed{240}", 0.0),
        ("204", r"first \boxed{1}, no: \boxed{204}", 1.0),
        ("204", r"\boxed{204}, or rather \boxed{1}", 0.0),
        (r"\frac{1}{2}", r"\boxed{0.5}", 1.0),
        (r"\frac{1}{2}", r"\boxed{\frac{2}{4}}", 1.0),
        ("27.0", r"\boxed{27}", 1.0),
        (r"\frac{\sqrt{3}}{2}", r"\boxed{\frac{\sqrt{3}}{2}}", 1.0),
        (r"\{1,2\}", r"\boxed{\{1, 2\}}", 1.0),
        ("x^{2}+1", r"\boxed{1 + x^{2}}", 1.0),
        ("$3$", r"$\boxed{3}$", 1.0),
        (r"\boxed{7}", r"\boxed{7}", 1.0),
        ("18", "The answer is 18.", 1.0),
        ("18", "I do not know.", 0.0),
        ("18", "", 0.0),
        ("18", r"\boxed{18", 0.0),
        ("정답", r"답은 \boxed{정답}", 1.0),
    ],
)
def test_verdicts(reward, reference, text, expected):
    assert score(reward, reference, text) == [expected]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{a{b{c}}d}", "a{b{c}}d"),
        (r"\boxed{1} \boxed {2}", "2"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"\boxed{1} \boxed{2", "1"),
        ("none", None),
    ],
)
def test_the_last_whole_box_counts(text, content):
    assert last_boxed(text) == content


def test_a_comparison_that_never_ends_is_wrong_and_stops_nobody():
    hasty = MathReward(MathSettings(timeout_seconds=3.0), BuildContext(role="sampler"))
    assert score(hasty, "1", ENDLESS, r"\boxed{1}", ENDLESS, r"\boxed{2}") == [0, 1, 0, 0]
    hasty.close()


def test_many_threads_share_one_grader(reward):
    with ThreadPoolExecutor(8) as pool:
        verdicts = pool.map(
            lambda n: score(reward, str(n), rf"\boxed{{{n}}}", r"\boxed{-1}"), range(40)
        )
    assert list(verdicts) == [[1.0, 0.0]] * 40


def test_configured_rewards_are_given():
    settings = MathSettings(correct=2.0, wrong=-1.0)
    reward = MathReward(settings, BuildContext(role="sampler"))
    assert score(reward, "1", r"\boxed{1}", r"\boxed{2}") == [2.0, -1.0]
    reward.close()


def test_the_grading_process_ends_with_its_parent():
    code = (
        "from ralo_tasks.rewards.math import MathReward\n"
        "from ralo_tasks.rewards.settings import MathSettings\n"
        "from ralo_core import *\n"
        "import os, signal\n"
        "r = MathReward(MathSettings(), BuildContext(role='sampler'))\n"
        "r.score(Problem(id='p', prompt='', answer='1'),"
        " [Response(text='1', finish_reason='eos', tokens=1)])\n"
        "print(r._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)

    def gone():
        try:
            return "Z" in Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(gone, lambda: "the grading process is still there")


SETS = {
    "gsm8k_test": {
        "prompt_field": "question", "answer_field": "answer", "answer_pattern": "#### (.+)",
    },
    "aime24": {"prompt_field": "problem", "answer_field": "answer"},
    "amc23": {"prompt_field": "problem", "answer_field": "answer"},
    "olympiadbench": {"prompt_field": "question", "answer_field": "final_answer.0"},
}  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [
    ("gsm8k_test", 1319), ("aime24", 30), ("amc23", 40), ("olympiadbench", 675)])  # fmt: skip
def test_every_reference_of_a_real_data_set_is_right_and_another_answer_wrong(reward, name, count):
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there; it lies beside a checkout of the project")
    settings = JsonlSettings(path=str(path), shuffle_seed=-1, **SETS[name])
    problems = list(JsonlProvider(settings, BuildContext(role="orchestrator")))
    assert len(problems) == count
    for problem in problems[:: max(1, count // 150)]:
        right, wrong = score(
            reward, problem.answer, rf"so \boxed{{{problem.answer}}}", r"\boxed{-98765.4321}"
        )
        assert (right, wrong) == (1.0, 0.0), json.dumps(problem.answer)
