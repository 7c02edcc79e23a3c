"""The built-in benchmarks, over rows of the published form and over real sets where they are."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from benchmark_rows import ANSWERS, ROWS

from ralo_core import BuildContext, ConfigError, RaloError
from ralo_core.testing import structure
from ralo_tasks.arithmetic import (
    ArithmeticProvider,
    ArithmeticSettings,
    is_held_out,
)

datasets = pytest.importorskip("datasets")

DATA = Path(__file__).parents[4] / "shared" / "data"
FILES = {
    "aime24": ("aime24", 30),
    "amc23": ("amc23", 40),
    "gsm8k": ("gsm8k_test", 1319),
    "olympiadbench": ("olympiadbench", 675),
}
SAMPLED = {"aime24": 16, "aime25": 16, "amc23": 16, "gpqa": 4}


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def benchmark_of(ralo_registry):
    """Return a function that builds a benchmark as a run does, with options as in the config."""

    def build(name, **options):
        cls = ralo_registry.settings_class("benchmark", name)
        settings = structure(options, cls, f"benchmarks.{name}")
        return ralo_registry.build("benchmark", name, settings, BuildContext(role="orchestrator"))

    return build


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "folder", "saved"])
def test_a_local_copy_of_a_published_set_gives_its_items(benchmark_of, tmp_path, name, kind):
    path = tmp_path / f"rows.{kind}"
    rows = datasets.Dataset.from_list(ROWS[name])
    if kind == "jsonl":
        write_lines(path, ROWS[name])
    elif kind == "parquet":
        rows.to_parquet(path)
    elif kind == "saved":
        rows.save_to_disk(path)
    else:
        path.mkdir()
        split = benchmark_of(name).published[0].split
        rows.to_parquet(path / f"{split}-0.parquet")
    items = benchmark_of(name, path=str(path), instruction="Think.").items()
    assert [item.id for item in items] == [f"{name}-0", f"{name}-1"]
    assert all(item.prompt.endswith("\n\nThink.") for item in items)
    if name in ANSWERS:
        assert [item.answer for item in items] == ANSWERS[name]


@pytest.mark.parametrize("name", ROWS)
def test_without_a_path_the_published_set_is_asked_for(benchmark_of, monkeypatch, name):
    asked = []

    def load_dataset(path, config, split, revision):
        asked.append((path, config, split))
        return datasets.Dataset.from_list(ROWS[name])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    items = benchmark_of(name).items()
    assert asked == [(s.path, s.config or None, s.split) for s in benchmark_of(name).published]
    assert len({item.id for item in items}) == 2 * len(asked)
    assert len(asked) == (2 if name == "aime25" else 1)
    asked.clear()
    benchmark_of(name, path="my/copy").items()
    assert {path for path, _, _ in asked} == {"my/copy"}


@pytest.mark.parametrize("name", FILES)
def test_real_sets_load(benchmark_of, name):
    file, count = FILES[name]
    path = DATA / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"the problem sets are not at {DATA}")
    items = benchmark_of(name, path=str(path)).items()
    assert len(items) == len({item.id for item in items}) == count
    assert not any("$" in item.answer or "#" in item.answer for item in items)
    if name != "olympiadbench":
        assert all(item.answer.removeprefix("-").isdigit() for item in items)
    if name == "gsm8k":
        assert [item.answer for item in items[:4]] == ["18", "3", "70000", "540"]


@pytest.mark.parametrize("name", ROWS)
def test_few_items_are_answered_often_and_many_once(benchmark_of, name):
    settings = benchmark_of(name).settings
    assert settings.samples == SAMPLED.get(name, 1)
    assert (settings.temperature > 0) == (settings.samples > 1)
    assert "mean@k" in settings.metrics or settings.metrics == ["accuracy"]


@pytest.mark.parametrize(
    ("name", "text", "prediction"),
    [
        ("aime24", r"so \boxed{025}", "25"),
        ("gsm8k", "1018 = 1000 + 18\n#### 1,018", "1018"),
        ("math500", r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        ("gpqa", "Answer: C", "C"),
        ("gpqa", "A good question, I think.", ""),
        ("gpqa", "Answer: E", ""),
    ],
)
def test_what_an_answer_comes_down_to(benchmark_of, tmp_path, name, text, prediction):
    benchmark = benchmark_of(name, path=write_lines(tmp_path / "rows.jsonl", ROWS[name]))
    assert benchmark.prediction(benchmark.items()[0], text) == prediction


def gpqa_rows(count):
    row = ROWS["gpqa"][0]
    return [{**row, "Correct Answer": f"right {n}"} for n in range(count)]


def test_the_choices_of_gpqa_are_shuffled_and_the_letter_is_tracked(benchmark_of, tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", gpqa_rows(80))
    items = benchmark_of("gpqa", path=path).items()
    for number, item in enumerate(items):
        choices = dict(line[1:].split(") ") for line in item.prompt.splitlines() if line[:1] == "(")
        assert choices[item.answer] == f"right {number}"
        wrong = {text for letter, text in choices.items() if letter != item.answer}
        assert wrong == {"wrong 01", "wrong 02", "wrong 03"}
        assert list(choices) == ["A", "B", "C", "D"]
    letters = Counter(item.answer for item in items)
    assert sorted(letters) == ["A", "B", "C", "D"]
    assert min(letters.values()) > 8  # of 20 expected
    assert benchmark_of("gpqa", path=path).items() == items
    other = benchmark_of("gpqa", path=path, seed=1).items()
    assert [item.answer for item in other] != [item.answer for item in items]


def test_the_order_of_choices_does_not_depend_on_the_other_items(benchmark_of, tmp_path):
    few = benchmark_of("gpqa", path=write_lines(tmp_path / "few.jsonl", gpqa_rows(5))).items()
    path = write_lines(tmp_path / "many.jsonl", gpqa_rows(50))
    assert benchmark_of("gpqa", path=path).items()[:5] == few
    limited = benchmark_of("gpqa", path=path, limit=7).items()
    everything = {item.id: item for item in benchmark_of("gpqa", path=path).items()}
    assert [everything[item.id] for item in limited] == limited


def test_a_wrong_choice_that_reads_like_the_right_one_is_not_the_answer(benchmark_of, tmp_path):
    rows = [{**ROWS["gpqa"][0], "Incorrect Answer 2": "right 0"}] * 30
    items = benchmark_of("gpqa", path=write_lines(tmp_path / "rows.jsonl", rows)).items()
    assert {item.answer for item in items} == {"A", "B", "C", "D"}


def test_a_limit_draws_by_the_seed_and_keeps_the_order(benchmark_of, tmp_path):
    rows = [{"question": f"{n}?", "answer": f"#### {n}"} for n in range(100)]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    some, again, others = (
        benchmark_of("gsm8k", path=path, limit=10, seed=seed) for seed in (0, 0, 1)
    )
    numbers = [int(item.answer) for item in some.items()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 10
    assert max(numbers) > 30
    assert some.items() == again.items() != others.items()
    assert some.settings.chosen(some.items()) == some.items()
    assert len(benchmark_of("gsm8k", path=path, limit=1000).items()) == 100


def test_a_set_of_the_users_own_says_what_its_fields_mean(benchmark_of, tmp_path):
    rows = [{"ask": "2+2?", "gold": {"text": "sum = 4"}, "topic": "sums"}]
    options = {
        "path": write_lines(tmp_path / "own.jsonl", rows),
        "prompt_field": "Q: {ask}",
        "answer_field": "gold.text",
        "answer_pattern": r"= (\d+)",
        "metadata_fields": ["topic"],
        "grader": "exact",
        "extract": "number",
    }
    for name in ("jsonl", "huggingface"):
        benchmark = benchmark_of(name, **options)
        (item,) = benchmark.items()
        assert (item.id, item.prompt, item.answer) == (f"{name}-0", "Q: 2+2?", "4")
        assert item.metadata == {"topic": "sums", "extract": "number"}
        assert benchmark.grader == "exact"
        assert benchmark.prediction(item, "it is 4.0") == "4"


def test_a_prompt_of_messages_gets_its_instruction_in_the_last(benchmark_of, tmp_path):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}]
    path = write_lines(tmp_path / "own.jsonl", [{"prompt": messages, "answer": "4"}])
    (item,) = benchmark_of("jsonl", path=path, instruction="Think.").items()
    assert item.prompt == [messages[0], {"role": "user", "content": "2+2?\n\nThink."}]


def test_split_and_configuration_of_the_users_own_set_are_asked_for(benchmark_of, monkeypatch):
    def load_dataset(path, config, split, revision):
        assert (path, config, split, revision) == ("me/set", "hard", "validation", "v2")
        return datasets.Dataset.from_list([{"prompt": "1?", "answer": "1"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    options = {"path": "me/set", "config": "hard", "split": "validation", "revision": "v2"}
    assert len(benchmark_of("huggingface", **options).items()) == 1


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("jsonl", {}, r"benchmarks.jsonl.path is not set"),
        ("huggingface", {}, r"benchmarks.huggingface.path is not set"),
        ("jsonl", {"extract": "last"}, r"benchmarks.jsonl.extract: must be one of 'boxed'"),
        ("jsonl", {"letters": "A-D"}, r"benchmarks.jsonl.letters: must be capital letters"),
        ("gsm8k", {"metrics": ["pass@2"]}, r"pass@2 needs 2 samples of each item"),
        ("arithmetic", {"terms_min": 4}, r"terms_min \(4\) must not be above terms_max \(3\)"),
        ("arithmetic", {"metrics": ["acc"]}, r"there is no metric 'acc'"),
    ],
)
def test_an_option_that_cannot_work_is_named(benchmark_of, name, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        benchmark_of(name, **options)


@pytest.mark.parametrize(
    ("name", "row", "complaint"),
    [
        ("aime24", {"text": "?"}, r"rows.jsonl:1: there is no field 'problem'; fields: text"),
        ("gsm8k", {"question": "?", "answer": "18"}, r"rows.jsonl:1: answer_pattern .* '18'"),
        ("gpqa", {**ROWS["gpqa"][0], "Incorrect Answer 3": ""}, r"rows.jsonl:1: one of the cho"),
        ("jsonl", {"prompt": "?", "answer": "Paris"}, r"rows.jsonl:1: the reference 'Paris' is"),
    ],
)
def test_a_record_that_does_not_fit_is_named(benchmark_of, tmp_path, name, row, complaint):
    options = {"grader": "choice"} if name == "jsonl" else {}
    path = write_lines(tmp_path / "rows.jsonl", [row])
    with pytest.raises(RaloError, match=complaint):
        benchmark_of(name, path=path, **options).items()


def test_without_a_network_the_error_says_what_to_do(benchmark_of, monkeypatch):
    def unreachable(*arguments, **options):
        msg = "Couldn't reach the Hub"
        raise ConnectionError(msg)

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(RaloError, match="openai/gsm8k .* the Hub cannot be reached.*local path"):
        benchmark_of("gsm8k").items()
    with pytest.raises(RaloError, match="no_such_file.jsonl cannot be read"):
        benchmark_of("gsm8k", path="no_such_file.jsonl").items()


def test_sums_are_held_out_from_every_training_run(benchmark_of):
    benchmark = benchmark_of("arithmetic", digits_min=1, terms_max=4)
    items = benchmark.items()
    assert len({item.prompt for item in items}) == len({item.id for item in items}) == 200
    for item in items:
        terms = [int(term) for term in item.prompt.split("+")]
        assert is_held_out(terms)
        assert item.answer == str(sum(terms))
        assert 3 <= len(terms) <= 4
    settings = ArithmeticSettings(digits_min=1, terms_max=4, seed=5)
    trained = islice(ArithmeticProvider(settings, BuildContext(role="orchestrator")), 20_000)
    assert {item.prompt for item in items}.isdisjoint(problem.prompt for problem in trained)
    assert benchmark.prediction(items[0], "1+1=2;#2#73 ") == "73"
    assert benchmark.prediction(items[0], "73") == ""


def test_sums_have_a_seed_and_a_limit_of_their_own(benchmark_of):
    sums = [benchmark_of("arithmetic", count=50, seed=seed).items() for seed in (0, 0, 1)]
    assert sums[0] == sums[1]
    assert {item.prompt for item in sums[0]} != {item.prompt for item in sums[2]}
    assert len(benchmark_of("arithmetic", limit=3).items()) == 3
    few = benchmark_of("arithmetic", terms_max=2, terms_min=2, digits_min=1, digits_max=1).items()
    assert 0 < len(few) < 20
