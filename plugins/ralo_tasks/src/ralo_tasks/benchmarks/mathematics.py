r"""Mathematics with a reference: AIME 2024 and 2025, AMC 2023, MATH-500, GSM8K, OlympiadBench.

All are graded by the `math` reward. The small sets, of 30 or 40 problems, are asked 16 times each:
with one response to each problem the interval would be too wide to compare two versions.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from ralo_core import Problem, with_default
from ralo_tasks.benchmarks.data_set import DataSetBenchmark, DataSetSettings
from ralo_tasks.records.fields import FieldMapping
from ralo_tasks.records.huggingface import HuggingFaceSource

IN_A_BOX = r"Please reason step by step, and put your final answer within \boxed{}."


@attrs.frozen(kw_only=True)
class MathSettings(DataSetSettings):
    """One greedy response to each problem."""

    instruction: str = with_default(DataSetSettings, "instruction", IN_A_BOX)


@attrs.frozen(kw_only=True)
class CompetitionSettings(MathSettings):
    """Sixteen sampled responses to each of few problems."""

    samples: int = with_default(MathSettings, "samples", 16)
    temperature: float = with_default(MathSettings, "temperature", 0.6)
    top_p: float = with_default(MathSettings, "top_p", 0.95)
    metrics: list[str] = with_default(MathSettings, "metrics", ["mean@k", "pass@k", "maj@k"])


class Aime24(DataSetBenchmark):
    """AIME 2024, both papers: 30 problems, answers 0 to 999."""

    name = "aime24"
    extract = "number"
    published = (HuggingFaceSource(path="HuggingFaceH4/aime_2024", split="train"),)
    mapping = FieldMapping(prompt_field="problem", answer_field="answer")


class Aime25(DataSetBenchmark):
    """AIME 2025, both papers: 30 problems, answers 0 to 999."""

    name = "aime25"
    extract = "number"
    published = (
        HuggingFaceSource(path="opencompass/AIME2025", config="AIME2025-I", split="test"),
        HuggingFaceSource(path="opencompass/AIME2025", config="AIME2025-II", split="test"),
    )
    mapping = FieldMapping(prompt_field="question", answer_field="answer")


class Amc23(DataSetBenchmark):
    """AMC 12 of 2023 without the choices: 40 problems with a number for an answer."""

    name = "amc23"
    extract = "number"
    published = (HuggingFaceSource(path="math-ai/amc23", split="test"),)
    mapping = FieldMapping(prompt_field="question", answer_field="answer")


class Math500(DataSetBenchmark):
    """MATH-500 (Lightman et al. 2023): 500 problems of MATH."""

    name = "math500"
    published = (HuggingFaceSource(path="HuggingFaceH4/MATH-500", split="test"),)
    mapping = FieldMapping(
        prompt_field="problem", answer_field="answer", metadata_fields=("subject", "level")
    )


class Gsm8k(DataSetBenchmark):
    """GSM8K (Cobbe et al. 2021), the 1,319 problems of its test set; the answer follows ####."""

    name = "gsm8k"
    extract = "number"
    published = (HuggingFaceSource(path="openai/gsm8k", config="main", split="test"),)
    mapping = FieldMapping(
        prompt_field="question", answer_field="answer", answer_pattern=r"####\s*(.+)"
    )

    def item(self, record: Mapping[str, Any], number: int, problem: Problem) -> Problem:
        """Return the problem with its answer as a number, without thousands' commas."""
        return attrs.evolve(problem, answer=problem.answer.replace(",", ""))


class OlympiadBench(DataSetBenchmark):
    """OlympiadBench (He et al. 2024), the open-ended problems of mathematics in English that are
    text only: 674 on the Hub, 675 in other copies."""

    name = "olympiadbench"
    published = (
        HuggingFaceSource(path="Hothan/OlympiadBench", config="OE_TO_maths_en_COMP", split="train"),
    )
    mapping = FieldMapping(
        prompt_field="question",
        answer_field="final_answer",
        metadata_fields=("answer_type", "is_multiple_answer"),
    )

    def item(self, record: Mapping[str, Any], number: int, problem: Problem) -> Problem:
        """Return the problem with its answers, one or several with commas, without dollar signs:
        they would not fit into the box of one answer."""
        return attrs.evolve(problem, answer=problem.answer.replace("$", ""))
