"""What changed in the run since the last look, as the text of server-sent events."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ralo_core.messages.series import StepEvent
from ralo_core.messages.stats import RunStats
from ralo_core.structuring import unstructure
from ralo_server.web.responses.json_response import json_text

Step = tuple[int, Mapping[str, Any]]


@attrs.frozen
class Item:
    """An event for everybody; `step` is its optimizer step, 0 for what is of none."""

    step: int
    text: bytes


@attrs.frozen(kw_only=True)
class Bulletin:
    """What one look found: the event of the state, what is new, and whether the run is over."""

    stats: bytes
    items: Sequence[Item]
    last_step: int
    over: bool


def event(kind: str, document: Any, number: int | None = None) -> bytes:
    """Return one server-sent event; `number` is what a client that comes back quotes."""
    line = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{line}data: {json_text(document)}\n\n".encode("ascii")


def step_item(step: Step) -> Item:
    """Return the event of a step."""
    number, metrics = step
    data = unstructure(StepEvent(step=number, metrics=metrics))
    return Item(number, event("step", data, number))


@attrs.define
class Watch:
    """Looks at one run again and again.

    `state` returns the reply of ``/stats`` without its steps, and whether the run is over;
    `steps` the metrics of the steps after one, by number, oldest first.
    """

    state: Callable[[], tuple[RunStats, bool]]
    steps: Callable[[int], Sequence[Step]]
    _last_step: int | None = attrs.field(default=None, init=False)
    _evaluations: set[str] = attrs.field(factory=set, init=False)

    def look(self) -> Bulletin:
        """Return what there is; nothing is new at the first look."""
        state, over = self.state()
        evaluations = {json_text(item): item for item in unstructure(state.evaluations)}
        items: list[Item] = []
        if self._last_step is None:
            self._last_step = state.step
        else:
            items += map(step_item, self.steps(self._last_step))
            self._last_step = max(self._last_step, *(item.step for item in items), 0)
            new = [item for text, item in evaluations.items() if text not in self._evaluations]
            items += [Item(0, event("eval", item)) for item in new]
        self._evaluations = set(evaluations)
        return Bulletin(
            stats=event("stats", unstructure(state)),
            items=items,
            last_step=self._last_step,
            over=over,
        )
