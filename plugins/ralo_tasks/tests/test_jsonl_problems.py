"""Problems from JSON-lines files: mapping, faults, split, order and resumption."""

import itertools
import json
from operator import length_hint
from pathlib import Path

import pytest

from ralo_core import BuildContext, ConfigError, RaloError
from ralo_core.testing import structure
from ralo_tasks.records.jsonl import JsonlProvider, JsonlSettings, JsonlSource

DATA = Path(__file__).parents[4] / "shared" / "data"
KOREAN = "민수는 사과 3개와 배 5개를 샀다.\u2028모두 몇 개인가?"


def write(path, *records):
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def numbered(path, count):
    return write(path, *({"prompt": f"p{i}", "answer": i} for i in range(count)))


def provider(run_seed=0, **options):
    options.setdefault("shuffle_seed", -1)
    return JsonlProvider(JsonlSettings(**options), BuildContext(role="orchestrator", seed=run_seed))


def take(source, count):
    return list(itertools.islice(source, count))


@pytest.mark.parametrize(
    ("name", "count", "options", "first"),
    [
        (
            "gsm8k_test",
            1319,
            {"prompt_field": "question", "answer_pattern": "#### (.+)"},
            "18",
        ),
        ("aime24", 30, {"prompt_field": "problem"}, "204"),
        ("amc23", 40, {"prompt_field": "problem"}, "27"),
        ("olympiadbench", 675, {"prompt_field": "question", "answer_field": "final_answer"}, "2"),
    ],
)
def test_published_problem_sets_load_with_a_field_mapping(name, count, options, first):
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"the problem sets are not at {DATA}")
    problems = list(provider(path=str(path), **options))
    assert len(problems) == count
    assert problems[0].answer == first
    assert all(problem.prompt and problem.answer for problem in problems)


def test_text_of_any_script_is_unharmed(tmp_path):
    path = write(tmp_path / "ko.jsonl", {"prompt": KOREAN, "answer": "여덟"})
    (problem,) = provider(path=path)
    assert (problem.prompt, problem.answer) == (KOREAN, "여덟")


def test_a_byte_order_mark_and_blank_lines_are_no_records(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "p", "answer": "a"}\r\n\r\n\n')
    assert [problem.prompt for problem in provider(path=str(path))] == ["p"]


def test_fields_may_be_nested_listed_numeric_templates_or_messages(tmp_path):
    chat = [{"role": "user", "content": "hello"}]
    record = {"q": {"text": "What?"}, "hint": "none", "a": [1.0, 2.5], "chat": chat, "tests": [1]}
    path = write(tmp_path / "a.jsonl", record)
    (problem,) = provider(
        path=path, prompt_field="{q.text} Hint: {hint}", answer_field="a", metadata_fields=["tests"]
    )
    assert (problem.prompt, problem.answer) == ("What? Hint: none", "1, 2.5")
    assert problem.metadata == {"tests": [1]}
    (problem,) = provider(path=path, prompt_field="chat", answer_field="a.1")
    assert (problem.prompt, problem.answer) == (chat, "2.5")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{oops", r"a\.jsonl:2: not a line of JSON"),
        (b'{"prompt": "\xff", "answer": 1}', r"a\.jsonl:2: not a line of JSON in UTF-8"),
        (b"[1]", r"a\.jsonl:2: expected an object with named fields, got list"),
        (b'{"question": "q", "answer": 1}', r"a\.jsonl:2: .*'prompt'; fields: question, answer"),
        (b'{"prompt": "q", "answer": null}', r"a\.jsonl:2: field 'answer' is empty"),
    ],
)
def test_a_faulty_line_is_named_at_the_start(tmp_path, line, complaint):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "p", "answer": 1}\n' + line + b"\n")
    with pytest.raises(RaloError, match=complaint):
        provider(path=str(path))


def test_an_answer_that_its_pattern_misses_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "p", "answer": "no mark"})
    with pytest.raises(RaloError, match=r"a\.jsonl:1: answer_pattern '#### \(\.\+\)' does not"):
        provider(path=path, answer_pattern="#### (.+)")


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(RaloError, match=r"none\.jsonl cannot be read: No such file"):
        provider(path=str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(RaloError, match=r"empty\.jsonl is empty"):
        provider(path=str(tmp_path / "empty.jsonl"))


def test_epochs_are_shuffled_anew_and_each_holds_every_record(tmp_path):
    path = numbered(tmp_path / "a.jsonl", 20)
    source = provider(path=path, epochs=2, shuffle_seed=5)
    problems = list(source)
    first, second = problems[:20], problems[20:]
    assert len(source) == 40
    assert {item.prompt for item in first} == {item.prompt for item in second}
    assert [item.prompt for item in first] != [item.prompt for item in second]
    assert len({item.id for item in problems}) == 40


def test_the_order_of_the_file_is_kept_on_request_and_the_seed_counts_otherwise(tmp_path):
    path = numbered(tmp_path / "a.jsonl", 20)
    assert [item.answer for item in provider(path=path)] == [str(i) for i in range(20)]
    orders = {
        tuple(item.answer for item in provider(seed, path=path, shuffle_seed=0))
        for seed in (1, 1, 2)
    }
    assert len(orders) == 2


@pytest.mark.parametrize("done", [0, 7, 20, 33])
def test_a_restored_provider_continues_with_the_next_problem(tmp_path, done):
    path = numbered(tmp_path / "a.jsonl", 20)
    options = {"path": path, "epochs": 0, "shuffle_seed": 3}
    whole = take(provider(**options), 50)
    first = provider(**options)
    take(first, done)
    second = provider(**options)
    second.restore(json.loads(json.dumps(first.state())))
    assert take(second, 50 - done) == whole[done:]
    assert length_hint(second, -1) == -1


def test_a_data_set_that_changed_is_refused_on_resumption(tmp_path):
    state = provider(path=numbered(tmp_path / "a.jsonl", 20)).state()
    changed = provider(path=numbered(tmp_path / "a.jsonl", 19))
    with pytest.raises(RaloError, match="started on 20 training records and now there are 19"):
        changed.restore(state)


@pytest.mark.parametrize("option", [{"held_out_items": 6}, {"held_out_fraction": 0.3}])
def test_held_out_prompts_are_never_trained_on_even_where_they_occur_twice(tmp_path, option):
    records = [{"prompt": f"p{i}", "answer": i} for i in range(20)] * 2
    path = write(tmp_path / "a.jsonl", *records)
    source = provider(1, path=path, shuffle_seed=0, **option)
    held_out = {problem.prompt for problem in source.held_out(100)}
    trained = [problem.prompt for problem in source]
    assert len(held_out) == 6
    assert held_out.isdisjoint(trained)
    assert len(trained) == 28
    again = provider(2, path=path, shuffle_seed=0, **option)
    assert again.held_out(4) == source.held_out(100)[:4]


def test_a_source_may_serve_evaluation_only_and_bring_its_own_mapping(tmp_path):
    train = numbered(tmp_path / "train.jsonl", 5)
    test = write(tmp_path / "test.jsonl", {"q": "p3", "gold": "3"}, {"q": "new", "gold": "so: 7"})
    own = JsonlSource(
        path=test, held_out=True, prompt_field="q", answer_field="gold", answer_pattern=r"\d+"
    )
    source = provider(sources=[JsonlSource(path=train), own])
    assert [item.prompt for item in source] == ["p0", "p1", "p2", "p4"]
    assert [(item.prompt, item.answer) for item in source.held_out(9)] == [
        ("p3", "3"),
        ("new", "7"),
    ]


def test_sets_of_the_same_name_give_unique_ids(tmp_path):
    (tmp_path / "b").mkdir()
    paths = numbered(tmp_path / "a.jsonl", 3), numbered(tmp_path / "b" / "a.jsonl", 3)
    source = provider(sources=[JsonlSource(path=path) for path in paths])
    assert len({item.id for item in source}) == 6


def test_a_filter_function_and_max_items_leave_records_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("even_answers.py").write_text("def keep(record):\n    return record['answer'] % 2 == 0\n")
    path = numbered(tmp_path / "a.jsonl", 20)
    source = provider(path=path, filter="even_answers:keep", max_items=3)
    assert [item.answer for item in source] == ["0", "2", "4"]


def test_nothing_left_to_train_on_is_an_error(tmp_path):
    path = numbered(tmp_path / "a.jsonl", 3)
    with pytest.raises(RaloError, match="no problem to train on is left in a"):
        provider(path=path, held_out_items=3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "set either 'path', or 'sources'"),
        ({"path": "a", "sources": [{"path": "b"}]}, "set either 'path', or 'sources'"),
        ({"sources": [{"held_out": True}]}, "set either 'path', or 'sources'"),
        ({"path": "a", "answer_pattern": "("}, r"answer_pattern: .\(. is not a regular expression"),
        ({"path": "a", "promt_field": "x"}, "did you mean 'prompt_field'"),
    ],
)
def test_settings_say_what_is_wrong_with_them(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        structure(options, JsonlSettings, "problems.jsonl")
