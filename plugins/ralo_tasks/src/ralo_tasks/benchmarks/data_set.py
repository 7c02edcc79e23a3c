"""A benchmark that is a data set, published on the Hub or here: the base of the built-in ones.

Records are read as problem providers read them. A subclass says which set it is and what the fields
of its records mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ralo_core import BenchmarkSettings, BuildContext, DataError, Problem, letter_of, setting
from ralo_tasks.final_answer import how_to_answer, item_answer, item_reference
from ralo_tasks.records.fields import FieldMapping
from ralo_tasks.records.huggingface import HuggingFaceSource, open_rows
from ralo_tasks.records.jsonl import JsonlSource, open_file
from ralo_tasks.records.records import RecordSet


@attrs.frozen(kw_only=True)
class DataSetSettings(BenchmarkSettings):
    """What every benchmark that is a data set can be told."""

    path: str = setting(
        "",
        "a .jsonl file, another file or folder that the datasets library opens, or a name on the "
        "Hub with the same fields; empty: the published set",
    )
    instruction: str = setting("", "what is put below every question; empty: nothing")


class DataSetBenchmark:
    """Items made of records; a subclass names its set and may override `item`."""

    name: str
    grader = "math"
    extract = "boxed"
    letters = "ABCD"
    published: Sequence[HuggingFaceSource]
    mapping: FieldMapping

    def __init__(self, settings: DataSetSettings, context: BuildContext) -> None:
        self.settings = settings

    def items(self) -> list[Problem]:
        """Return the items, `limit` of them; raises `RaloError` for a set that cannot be had."""
        records = (
            (item, index) for item in self._record_sets() for index in range(len(item.records))
        )
        items = [self._numbered(number, *place) for number, place in enumerate(records)]
        return self.settings.chosen(items)

    def prediction(self, problem: Problem, text: str) -> str:
        """Return the final answer in `text`, "" where there is none."""
        return item_answer(problem, text)

    def reference(self, problem: Problem) -> str:
        """Return the reference as `prediction` writes an answer that equals it."""
        return item_reference(problem)

    def item(self, record: Mapping[str, Any], number: int, problem: Problem) -> Problem:
        """Return the item of a record: `problem`, as the field mapping makes it, or another.

        `number` counts the records of the benchmark. Raises `DataError` for what is amiss.
        """
        return problem

    def _record_sets(self) -> Iterator[RecordSet]:
        path = Path(self.settings.path).expanduser()
        if self.settings.path.lower().endswith(".jsonl"):
            yield open_file(JsonlSource(path=self.settings.path), self.mapping)
        elif self.settings.path and path.exists():
            source = attrs.evolve(self.published[0], path=str(path), config="")
            yield open_rows(source, self.mapping)
        else:
            for source in self.published:
                name = self.settings.path or source.path
                yield open_rows(attrs.evolve(source, path=name), self.mapping)

    def _numbered(self, number: int, records: RecordSet, index: int) -> Problem:
        """Return the item of record `index`, with id, instruction and how it is answered."""
        problem = records.problem(index, "item")
        try:
            problem = self.item(records.records[index], number, problem)
            if self.grader == "choice" and letter_of(problem.answer) is None:
                msg = f"the reference {problem.answer!r} is not the letter of a choice"
                raise DataError(msg)
        except DataError as error:
            msg = f"{records.where(index)}: {error}"
            raise DataError(msg) from error
        return attrs.evolve(
            problem,
            id=f"{self.name}-{number}",
            prompt=_instructed(problem.prompt, self.settings.instruction),
            metadata={**problem.metadata, **how_to_answer(self.extract, self.letters)},
        )


def _instructed(prompt: Any, instruction: str) -> Any:
    """Return a prompt, text or messages, with the instruction below what it asks last."""
    if not instruction:
        return prompt
    if isinstance(prompt, str):
        return f"{prompt}\n\n{instruction}"
    last = {**prompt[-1], "content": f"{prompt[-1]['content']}\n\n{instruction}"}
    return [*prompt[:-1], last]
