"""The rollout trees that there are, for whoever looks at them: a list, and each by its number.

A list costs one query: blobs are not opened for it.
"""

import json
from pathlib import Path
from typing import Any

import attrs

from ralo_core import wire
from ralo_core.data import RolloutTree
from ralo_server.store.database import Database
from ralo_server.store.lifecycle import not_in_states
from ralo_server.store.states import TreeState

_PROMPT_SHOWN = 400
_COLUMNS = """t.number, t.state, t.blob, t.oldest_version, t.summary, t.time, b.step, p.id, p.body
    FROM trees t LEFT JOIN batches b ON b.id = t.batch_id
    LEFT JOIN problems p ON p.lease_id = t.lease_id"""
_OF_ALL = f"{not_in_states(TreeState.DISCARDED, column='t.state')} AND t.number < ?"
_OF_PROBLEM = "t.lease_id IN (SELECT lease_id FROM problems WHERE id = ?)"
_OF_STEP = "t.batch_id IN (SELECT id FROM batches WHERE step = ?)"
_NO_BOUND = 1 << 62


@attrs.frozen(kw_only=True)
class StoredRollout:
    """A tree with its problem as JSON and the step that took it, None before."""

    number: int
    step: int | None
    problem: dict[str, Any]
    tree: RolloutTree


@attrs.frozen
class RolloutArchive:
    """The trees of a run, whose blobs lie in `folder`."""

    database: Database
    folder: Path

    def newest(
        self,
        limit: int,
        *,
        before: int | None = None,
        problem: str | None = None,
        step: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return up to `limit` trees as ``/rollouts`` shows them, the newest first: those with a
        number below `before`, of one problem, of one step."""
        conditions = [_OF_ALL]
        values: list[int | str] = [_NO_BOUND if before is None else before]
        for condition, value in ((_OF_PROBLEM, problem), (_OF_STEP, step)):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        rows = self.database.rows(
            f"SELECT {_COLUMNS} WHERE {' AND '.join(conditions)} "  # noqa: S608
            "ORDER BY t.number DESC LIMIT ?",
            *values,
            limit,
        )
        return [_summary(row) for row in rows]

    def find(self, number: int) -> StoredRollout | None:
        """Return a tree, None where it was never stored or is not kept any more."""
        rows = self.database.rows(
            f"SELECT {_COLUMNS} WHERE t.number = ? AND t.blob != ''",  # noqa: S608
            number,
        )
        if not rows:
            return None
        try:
            body = (self.folder / rows[0]["blob"]).read_bytes()
        except FileNotFoundError:
            return None  # its turn to go has come a moment ago
        tree = wire.unpack_tree(body)
        return StoredRollout(
            number=number, step=rows[0]["step"], problem=_problem(rows[0]), tree=tree
        )


def _problem(row: Any) -> dict[str, Any]:
    """Return the problem of a tree; its prompt is plain text or a list of chat messages."""
    problem: dict[str, Any] = json.loads(row["body"] or "{}")
    return problem


def _summary(row: Any) -> dict[str, Any]:
    summary, problem = json.loads(row["summary"]), _problem(row)
    leaves = summary["leaves"]
    solved = summary.get("solved")  # an older version did not count them
    return {
        "number": row["number"],
        "problem_id": row["id"] or "",
        "prompt": prompt_text(problem.get("prompt", ""))[:_PROMPT_SHOWN],
        "step": row["step"],
        "version": row["oldest_version"],
        "leaves": leaves,
        "reward": summary["reward"] / leaves,
        "solved": None if solved is None else solved / leaves,
        "tokens": summary["tokens"],
        "depth": max(map(int, summary["depths"]), default=0) if "depths" in summary else None,
        "state": row["state"],
        "time": row["time"],
    }


def prompt_text(prompt: Any) -> str:
    """Return a problem's prompt as one text, the messages of a chat one after the other."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(message.get("content", "")) for message in prompt)
