"""The huggingface provider over local files of every kind; no test needs a network."""

import json
from pathlib import Path

import pytest

from ralo_core import BuildContext, RaloError
from ralo_tasks.records.huggingface import (
    HuggingFaceProvider,
    HuggingFaceSettings,
    HuggingFaceSource,
)

datasets = pytest.importorskip("datasets")

ROWS = {"question": [f"문제 {i}" for i in range(6)], "gold": [float(i) for i in range(6)]}
DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def provider(path, **options):
    options = {"prompt_field": "question", "answer_field": "gold", "shuffle_seed": -1, **options}
    return HuggingFaceProvider(
        HuggingFaceSettings(path=str(path), **options), BuildContext(role="orchestrator")
    )


def save(kind, folder):
    data = datasets.Dataset.from_dict(ROWS)
    path = folder / f"rows.{kind}"
    if kind == "csv":
        data.to_csv(path)
    elif kind == "tsv":
        data.to_csv(path, sep="\t")
    elif kind == "parquet":
        data.to_parquet(path)
    elif kind == "jsonl":
        data.to_json(path, force_ascii=False)
    elif kind == "disk":
        data.save_to_disk(path)
    else:
        datasets.DatasetDict({"train": data}).save_to_disk(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "disk", "dict"])
def test_every_kind_of_local_data_gives_the_same_problems(tmp_path, kind):
    problems = list(provider(save(kind, tmp_path)))
    assert [problem.prompt for problem in problems] == ROWS["question"]
    assert [problem.answer for problem in problems] == ["0", "1", "2", "3", "4", "5"]


def test_a_folder_of_files_is_a_data_set(tmp_path):
    (tmp_path / "set").mkdir()
    save("parquet", tmp_path / "set")
    assert len(provider(tmp_path / "set")) == 6


def test_a_split_may_be_a_slice(tmp_path):
    path = save("jsonl", tmp_path)
    assert len(provider(path, split="train[:4]")) == 4
    assert len(provider(path, split="test[4:]")) == 2


def test_arrow_files_are_read(tmp_path):
    folder = save("disk", tmp_path)
    (file,) = folder.glob("*.arrow")
    assert len(provider(file)) == 6


def test_split_held_out_and_resumption_work_as_for_jsonl(tmp_path):
    options = {"held_out_items": 2, "shuffle_seed": 4, "epochs": 2}
    path = save("parquet", tmp_path)
    whole = list(provider(path, **options))
    assert len({problem.id for problem in whole}) == 8
    held_out = {problem.prompt for problem in provider(path, **options).held_out(9)}
    assert len(held_out) == 2
    assert held_out.isdisjoint(problem.prompt for problem in whole)
    first, second = provider(path, **options), provider(path, **options)
    rows = iter(first)
    assert [next(rows) for _ in range(5)] == whole[:5]
    second.restore(json.loads(json.dumps(first.state())))
    assert list(second) == whole[5:]


def test_several_data_sets_are_combined(tmp_path):
    sources = [
        HuggingFaceSource(path=str(save("csv", tmp_path))),
        HuggingFaceSource(path=str(save("parquet", tmp_path)), split="train[:2]", held_out=True),
    ]
    source = provider("", sources=sources)
    assert len(source) == 4
    assert len(source.held_out(5)) == 2


def test_a_published_set_loads_with_its_list_of_answers(tmp_path):
    path = DATA / "olympiadbench.jsonl"
    if not path.exists():
        pytest.skip(f"the problem sets are not at {DATA}")
    problems = list(provider(path, answer_field="final_answer"))
    assert (len(problems), problems[0].answer) == (675, "2")


def test_a_missing_field_names_the_row_and_the_fields_there_are(tmp_path):
    path = save("csv", tmp_path)
    with pytest.raises(RaloError, match=r"row 0: .*no field 'prompt'; fields: question, gold"):
        provider(path, prompt_field="prompt")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("none.csv", "no such file; the current directory is"), ("", "has the splits train")],
)
def test_a_missing_file_or_split_is_named(tmp_path, name, complaint):
    path = tmp_path / name if name else save("dict", tmp_path)
    with pytest.raises(RaloError, match=complaint):
        provider(path, split="test")


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def unreachable(*arguments, **options):
        msg = "Couldn't reach the Hub"
        raise ConnectionError(msg)

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(RaloError, match="the Hub cannot be reached.*Download it once"):
        provider("some/dataset")
