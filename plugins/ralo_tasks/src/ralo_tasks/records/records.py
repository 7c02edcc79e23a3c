"""Problems from sets of records: filter, held-out split, shuffling, epochs, exact resumption.

The providers open the data and build on this; it does not know where records come from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from random import Random
from typing import Any

import attrs

from ralo_core.components import BuildContext
from ralo_core.config.checks import at_least, between, regex
from ralo_core.config.setting import setting
from ralo_core.data import Problem
from ralo_core.errors import DataError
from ralo_core.user_functions import import_function
from ralo_tasks.records.fields import FieldMapping


@attrs.frozen(kw_only=True)
class SourceSettings:
    """What every source may set for itself; empty: as in the section."""

    prompt_field: str = setting("", "field of the prompt; empty: the section's")
    answer_field: str = setting("", "field of the reference answer; empty: the section's")
    answer_pattern: str = setting(
        "", "regex of the answer in its field; empty: the section's", regex
    )
    held_out: bool = setting(False, "use this source for evaluation only")


@attrs.frozen(kw_only=True)
class RecordSettings:
    """The options that all kinds of data sets share."""

    prompt_field: str = setting("prompt", "field, dotted path or template with {field}")
    answer_field: str = setting("answer", "field, dotted path or template with {field}")
    answer_pattern: str = setting(
        "", "regex that takes the reference (group 1) out of the answer, e.g. '#### (.+)'", regex
    )
    metadata_fields: list[str] = setting([], "fields that travel with the problem to the rewards")
    filter: str = setting("", "'module:function' of a record; False leaves it out; empty: keep all")
    max_items: int = setting(0, "train on the first so many records only; 0: all", at_least(0))
    epochs: int = setting(1, "times the data is gone through; 0: endless", at_least(0))
    shuffle_seed: int = setting(
        0,
        "each epoch is shuffled anew by this; 0: the run's seed, -1: keep the order",
        at_least(-1),
    )
    held_out_items: int = setting(0, "problems set aside for evaluation", at_least(0))
    held_out_fraction: float = setting(
        0.0, "share set aside for evaluation, where held_out_items is 0", between(0.0, 0.9)
    )

    def mapping(self, source: SourceSettings) -> FieldMapping:
        """Return the field mapping of `source`."""
        return FieldMapping(
            prompt_field=source.prompt_field or self.prompt_field,
            answer_field=source.answer_field or self.answer_field,
            answer_pattern=source.answer_pattern or self.answer_pattern,
            metadata_fields=self.metadata_fields,
        )


@attrs.frozen(kw_only=True)
class RecordSet:
    """An opened data set; `where` tells a person the place of record i (file and line)."""

    name: str
    records: Sequence[Mapping[str, Any]]
    where: Callable[[int], str]
    mapping: FieldMapping
    held_out: bool = False

    def problem(self, index: int, suffix: str) -> Problem:
        """Return record `index` as a problem, or raise `DataError` naming its place."""
        record = self.records[index]
        try:
            return Problem(
                id=f"{self.name}-{index}-{suffix}",
                prompt=self.mapping.prompt(record),
                answer=self.mapping.answer(record),
                metadata=self.mapping.metadata(record),
            )
        except DataError as error:
            msg = f"{self.where(index)}: {error}"
            raise DataError(msg) from error


Place = tuple[int, int]
"""Number of the set, index of the record in it."""


class RecordProvider:
    """Iterates over the training records of `sets`; all of them are checked at the start.

    A prompt that is held out is trained on nowhere, even where it occurs twice or in another
    set: the split is by the hash of the prompt, and so the same for every seed and order.
    """

    def __init__(
        self, sets: Sequence[RecordSet], settings: RecordSettings, context: BuildContext
    ) -> None:
        self._sets = _with_unique_names(sets)
        self._settings = settings
        self._seed = settings.shuffle_seed or context.seed
        self._position = 0
        self._training, self._held_out = _split(_scan(self._sets, settings.filter), settings)
        if not self._training:
            names = ", ".join(item.name for item in sets)
            msg = f"no problem to train on is left in {names}: empty, filtered or all held out"
            raise DataError(msg)

    def __iter__(self) -> Iterator[Problem]:
        size, order, ordered = len(self._training), self._training, -1
        while not self._settings.epochs or self._position < len(self):
            epoch, step = divmod(self._position, size)
            if epoch != ordered:
                order, ordered = self._order(epoch), epoch
            self._position += 1
            number, index = order[step]
            yield self._sets[number].problem(index, str(epoch))

    def __len__(self) -> int:
        if not self._settings.epochs:
            msg = "an endless provider has no length; use operator.length_hint"
            raise TypeError(msg)
        return self._settings.epochs * len(self._training)

    def __bool__(self) -> bool:
        return True

    def state(self) -> dict[str, Any]:
        """Return the position as JSON-able data."""
        return {"position": self._position, "records": len(self._training)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a position that `state` returned; raises `DataError` on changed data."""
        if state["records"] != len(self._training):
            msg = (
                f"the run was started on {state['records']} training records and now there are "
                f"{len(self._training)}: restore the data set, or start a new run"
            )
            raise DataError(msg)
        self._position = int(state["position"])

    def held_out(self, count: int) -> Sequence[Problem]:
        """Return up to `count` problems that iteration never yields, the same every time."""
        return [
            self._sets[number].problem(index, "held-out")
            for number, index in self._held_out[:count]
        ]

    def _order(self, epoch: int) -> list[Place]:
        order = list(self._training)
        if self._settings.shuffle_seed >= 0:
            Random(f"{self._seed} {epoch}").shuffle(order)  # noqa: S311 (needs no secrecy)
        return order


def _with_unique_names(sets: Sequence[RecordSet]) -> list[RecordSet]:
    names = [item.name for item in sets]
    return [
        attrs.evolve(item, name=f"{item.name}.{number}") if names.count(item.name) > 1 else item
        for number, item in enumerate(sets)
    ]


def _scan(sets: Sequence[RecordSet], filter_path: str) -> dict[Place, tuple[bytes, bool]]:
    """Return the hash of the prompt, and whether its set is held out, of every record kept."""
    keep = import_function(filter_path, "filter") if filter_path else None
    found = {}
    for number, item in enumerate(sets):
        for index in range(len(item.records)):
            if keep is None or keep(item.records[index]):
                prompt = item.problem(index, "check").prompt
                found[number, index] = sha256(repr(prompt).encode()).digest(), item.held_out
    return found


def _split(
    found: Mapping[Place, tuple[bytes, bool]], settings: RecordSettings
) -> tuple[list[Place], list[Place]]:
    """Return the places of the training and of the held-out problems, no prompt in both."""
    reserved = {digest: place for place, (digest, held_out) in found.items() if held_out}
    rest = {digest: place for place, (digest, _) in found.items() if digest not in reserved}
    count = settings.held_out_items or round(settings.held_out_fraction * len(rest))
    reserved |= {digest: rest[digest] for digest in sorted(rest)[:count]}
    training = [place for place, (digest, _) in found.items() if digest not in reserved]
    limit = settings.max_items or len(training)
    return training[:limit], list(reserved.values())
