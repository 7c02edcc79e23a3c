"""`Viewing`: what somebody who looks at a run asks for, beside ``/stats``.

The dashboard asks the same. Nothing here changes anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_core.client.transport import Transport

_NAMES_AT_ONCE = 64


@attrs.frozen
class Viewing:
    """A viewer's questions to the orchestrator behind `transport`; the answers are plain JSON, as
    `docs/openapi.yaml` has it."""

    transport: Transport

    def metric_names(self) -> list[str]:
        """Return the names of all metrics that any step has."""
        names: list[str] = self._get("/series/names")["names"]
        return names

    def last_step(self) -> int:
        """Return the number of the newest step, 0 before the first."""
        return int(self._get("/series", names="reward", points=1)["last_step"])

    def steps(self, names: Sequence[str], first: int, last: int) -> list[dict[str, Any]]:
        """Return ``{"step": n, name: value or None}`` of the steps from `first` to `last`."""
        span = {"after": first - 1, "until": last, "points": max(1, last - first + 1)}
        rows: dict[int, dict[str, Any]] = {}
        for start in range(0, len(names), _NAMES_AT_ONCE):
            asked = ",".join(names[start : start + _NAMES_AT_ONCE])
            found = self._get("/series", names=asked, **span)
            for place, step in enumerate(found["steps"]):
                row = rows.setdefault(step, {"step": step})
                row.update({name: values[place] for name, values in found["series"].items()})
        return list(rows.values())

    def rollouts(
        self, limit: int, problem: str | None = None, step: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest rollout trees, of one problem, of one step, in a few numbers each."""
        asked = {"limit": limit, "problem": problem, "step": step}
        given = {name: value for name, value in asked.items() if value is not None}
        rows: list[dict[str, Any]] = self._get("/rollouts", **given)["rollouts"]
        return rows

    def rollout(self, number: int) -> dict[str, Any]:
        """Return a whole tree; raises `ServerError` 404 where it is not kept."""
        return self._get(f"/rollouts/{number}")

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.transport.request("GET", path, params=params)
        document: Mapping[str, Any] = answer.json()
        return dict(document)
