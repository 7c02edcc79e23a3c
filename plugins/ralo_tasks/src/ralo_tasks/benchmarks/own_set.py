"""``[benchmarks] pipeline = ["jsonl"]`` and ``"huggingface"``: a data set of the user's own.

The options say what the set's fields mean and how responses are graded.
"""

import attrs

from ralo_core import BuildContext, ConfigError, capital_letters, one_of, regex, setting
from ralo_tasks.benchmarks.data_set import DataSetBenchmark, DataSetSettings
from ralo_tasks.final_answer import EXTRACTIONS, LETTERS
from ralo_tasks.records.fields import FieldMapping
from ralo_tasks.records.huggingface import HuggingFaceSource


@attrs.frozen(kw_only=True)
class OwnSetSettings(DataSetSettings):
    """What a set's fields mean, and how responses are graded."""

    prompt_field: str = setting("prompt", "field, dotted path or template with {field}")
    answer_field: str = setting("answer", "field, dotted path or template with {field}")
    answer_pattern: str = setting(
        "", "regex that takes the reference (group 1) out of the answer, e.g. '#### (.+)'", regex
    )
    metadata_fields: list[str] = setting([], "fields that travel with the item to its grader")
    grader: str = setting(
        "math", "reward that gives at least 1 to a correct response: 'math', 'exact', 'choice', ..."
    )
    extract: str = setting(
        "boxed",
        "what a response comes down to: the last 'boxed' (or number), the last 'number', the "
        "letter of a 'choice', or the 'whole' text",
        one_of(*EXTRACTIONS),
    )
    letters: str = setting(LETTERS, "letters that can be chosen", capital_letters)


@attrs.frozen(kw_only=True)
class OwnHuggingFaceSettings(OwnSetSettings):
    """A set on the Hub, or what the datasets library opens here."""

    config: str = setting("", "configuration (subset) of the data set; empty: its only one")
    split: str = setting("test", "split, e.g. 'test' or 'train[:1000]'")
    revision: str = setting("", "branch, tag or commit on the Hub; empty: the newest")


class JsonlBenchmark(DataSetBenchmark):
    """The lines of a file."""

    name = "jsonl"

    def __init__(self, settings: OwnSetSettings, context: BuildContext) -> None:
        super().__init__(settings, context)
        if not settings.path:
            raise ConfigError([f"benchmarks.{self.name}.path is not set: name the data set"])
        self.grader = settings.grader
        self.extract, self.letters = settings.extract, settings.letters
        self.published = (HuggingFaceSource(path=settings.path),)
        self.mapping = FieldMapping(
            prompt_field=settings.prompt_field,
            answer_field=settings.answer_field,
            answer_pattern=settings.answer_pattern,
            metadata_fields=settings.metadata_fields,
        )


class HuggingFaceBenchmark(JsonlBenchmark):
    """The rows of a data set of the Hub, or of one here."""

    name = "huggingface"

    def __init__(self, settings: OwnHuggingFaceSettings, context: BuildContext) -> None:
        super().__init__(settings, context)
        self.published = (
            HuggingFaceSource(
                path=settings.path,
                config=settings.config,
                split=settings.split,
                revision=settings.revision,
            ),
        )
