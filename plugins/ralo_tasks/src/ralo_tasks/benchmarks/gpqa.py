"""GPQA Diamond (Rein et al. 2023): 198 questions of science with four choices each.

The set is gated: its publisher asks for an account of the Hub and for not showing examples in plain
text, so none is in our tests.
"""

from collections.abc import Mapping
from random import Random
from typing import Any

import attrs

from ralo_core import DataError, Problem, with_default
from ralo_tasks.benchmarks.data_set import DataSetBenchmark, DataSetSettings
from ralo_tasks.records.fields import FieldMapping, look_up, to_text
from ralo_tasks.records.huggingface import HuggingFaceSource

IN_A_BOX = r"Please reason step by step, and put the letter of your choice within \boxed{}."
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


@attrs.frozen(kw_only=True)
class GpqaSettings(DataSetSettings):
    """Four sampled responses to each question; the seed orders the choices."""

    samples: int = with_default(DataSetSettings, "samples", 4)
    temperature: float = with_default(DataSetSettings, "temperature", 0.6)
    top_p: float = with_default(DataSetSettings, "top_p", 0.95)
    metrics: list[str] = with_default(
        DataSetSettings, "metrics", ["multiple_choice", "mean@k", "maj@k"]
    )
    instruction: str = with_default(DataSetSettings, "instruction", IN_A_BOX)


class Gpqa(DataSetBenchmark):
    """Every question with its choices in an order of its own, drawn by seed and number."""

    name = "gpqa"
    grader = "choice"
    extract = "choice"
    published = (HuggingFaceSource(path="Idavidrein/gpqa", config="gpqa_diamond", split="train"),)
    mapping = FieldMapping(prompt_field="Question", answer_field="Correct Answer")

    def item(self, record: Mapping[str, Any], number: int, problem: Problem) -> Problem:
        """Return the question with its choices below, and the letter of the correct one."""
        right = problem.answer.strip()
        choices = [right, *(to_text(look_up(record, field)).strip() for field in _WRONG)]
        if not all(choices):
            msg = f"one of the choices is empty: {choices}"
            raise DataError(msg)
        order = Random(f"choices {self.settings.seed} {number}")  # noqa: S311 (needs no secrecy)
        # Places are shuffled and not texts: a wrong answer may read like the right one.
        places = order.sample(range(len(choices)), len(choices))
        lines = [
            f"({letter}) {choices[place]}"
            for letter, place in zip(self.letters, places, strict=True)
        ]
        return attrs.evolve(
            problem,
            prompt="\n".join([str(problem.prompt).strip(), "", *lines]),
            answer=self.letters[places.index(0)],
        )
