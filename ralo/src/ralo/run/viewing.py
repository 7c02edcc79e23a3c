"""`Viewing`: what somebody who looks at a run asks for, beside ``/stats``; nothing is changed."""

from collections.abc import Sequence
from typing import Any, TypeVar

import attrs

from ralo_core.client.transport import Transport
from ralo_core.messages.rollouts import Rollout, RolloutSummaries, RolloutSummary
from ralo_core.messages.series import MetricNames, Series
from ralo_core.messages.stats import Metrics
from ralo_core.structuring import structure_reply

T = TypeVar("T")

_NAMES_AT_ONCE = 64


@attrs.frozen
class Viewing:
    """A viewer's requests to the orchestrator behind `transport`."""

    transport: Transport

    def metric_names(self) -> Sequence[str]:
        """Return the names of all metrics that any step has."""
        return self._get("/series/names", MetricNames).names

    def last_step(self) -> int:
        """Return the number of the newest step, 0 before the first."""
        return self._get("/series", Series, names="reward", points=1).last_step

    def steps(self, names: Sequence[str], first: int, last: int) -> list[Metrics]:
        """Return `names` and ``step`` of the steps from `first` to `last`."""
        span = {"after": first - 1, "until": last, "points": max(1, last - first + 1)}
        rows: dict[int, dict[str, Any]] = {}
        for start in range(0, len(names), _NAMES_AT_ONCE):
            asked = ",".join(names[start : start + _NAMES_AT_ONCE])
            found = self._get("/series", Series, names=asked, **span)
            for place, step in enumerate(found.steps):
                row = rows.setdefault(step, {"step": step})
                row.update({name: values[place] for name, values in found.series.items()})
        return list(rows.values())

    def rollouts(
        self, limit: int, problem: str | None = None, step: int | None = None
    ) -> Sequence[RolloutSummary]:
        """Return the newest rollout trees, of one problem, of one step, in a few numbers each."""
        asked = {"limit": limit, "problem": problem, "step": step}
        given = {name: value for name, value in asked.items() if value is not None}
        return self._get("/rollouts", RolloutSummaries, **given).rollouts

    def rollout(self, number: int) -> Rollout:
        """Return a whole tree; raises `ServerError` 404 where it is not kept."""
        return self._get(f"/rollouts/{number}", Rollout)

    def _get(self, path: str, kind: type[T], **params: Any) -> T:
        return structure_reply(self.transport.request("GET", path, params=params).json(), kind)
