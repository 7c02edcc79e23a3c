"""Benchmarks of the server and graders of core and worker agree on which response is correct."""

from pathlib import Path

import pytest

from ralo_core import BuildContext, Response
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.structuring import structure

DATA = Path(__file__).parents[2] / "shared" / "data"
REGISTRY = Registry(PluginHost(strict=True).load())
CONTEXT = BuildContext(role="cli")
FILES = {
    "aime24": "aime24", "amc23": "amc23", "gsm8k": "gsm8k_test", "olympiadbench": "olympiadbench"
}  # fmt: skip


def build(kind, name, **options):
    cls = REGISTRY.settings_class(kind, name)
    settings = None if cls is None else structure(options, cls, f"{kind}.{name}")
    return REGISTRY.build(kind, name, settings, CONTEXT)


@pytest.fixture(scope="module")
def graders():
    found = {name: build("reward", name) for name in ("math", "exact", "choice", "arithmetic")}
    yield found
    found["math"].close()


def verdicts(grader, item, *texts):
    return grader.score(item, [Response(text=t, finish_reason="eos", tokens=1) for t in texts])


@pytest.mark.parametrize("name", FILES)
def test_references_of_published_sets_are_correct_answers(graders, name):
    path = DATA / f"{FILES[name]}.jsonl"
    if not path.exists():
        pytest.skip(f"the problem sets are not at {DATA}")
    benchmark = build("benchmark", name, path=str(path), limit=30)
    items = benchmark.items()
    for item, other in zip(items, items[1:] + items[:1], strict=True):
        right = rf"I get \boxed{{{item.answer}}}."
        wrong = r"I get \boxed{98765.4321}."
        bare = f"So the answer is ${item.answer}$."
        found = verdicts(graders[benchmark.grader], item, right, wrong, bare)
        assert found[:2] == [1, 0], item.id
        assert found[2] == 1 or name == "olympiadbench", item.id
        assert benchmark.prediction(item, right)
        same = other.answer == item.answer
        again = benchmark.prediction(other, rf"\boxed{{{other.answer}}}")
        assert (benchmark.prediction(item, right) == again) == same


def test_the_choices_of_gpqa_are_graded_by_their_letters(graders, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"Question": "?", "Correct Answer": "x", "Incorrect Answer 1": "a", '
        '"Incorrect Answer 2": "b", "Incorrect Answer 3": "c"}\n' * 12
    )
    benchmark = build("benchmark", "gpqa", path=str(path))
    for item in benchmark.items():
        texts = (*(f"Answer: {letter}" for letter in "ABCDE"), "A man")
        found = verdicts(graders[benchmark.grader], item, *texts)
        assert found == [float(letter == item.answer) for letter in "ABCDE"] + [0]


def test_sums_are_graded_as_in_training(graders):
    benchmark = build("benchmark", "arithmetic", count=5)
    for item in benchmark.items():
        text = f"1+2=3;#{item.answer}"
        assert verdicts(graders[benchmark.grader], item, text, "#1", item.answer) == [1, 0, 0]
        assert benchmark.prediction(item, text) == item.answer


@pytest.mark.parametrize(
    ("grader", "extract", "reference", "right", "wrong"),
    [
        ("exact", "boxed", "New York", r"\boxed{new york}", "New York"),
        ("exact", "number", "12", "a dozen is 12.0", "12 and 13"),
        ("exact", "whole", "서울", " 서울. ", "서울이다"),
        ("choice", "choice", "C", "The answer is (C).", "C was a good guess"),
        ("math", "boxed", "1/2", r"\boxed{\frac{1}{2}}", r"\boxed{2}"),
    ],
)
def test_a_set_of_the_users_own_is_graded_as_it_says(
    graders, tmp_path, grader, extract, reference, right, wrong
):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"prompt": "?", "answer": "{reference}"}}\n')
    benchmark = build("benchmark", "jsonl", path=str(path), grader=grader, extract=extract)
    (item,) = benchmark.items()
    assert verdicts(graders[benchmark.grader], item, right, wrong) == [1, 0]
