"""Evaluations that a person asks for: of a model without training, or of a run that is running.

A model is evaluated by a run that takes no step: a real orchestrator, told to drain before any
worker is there, and real samplers. So the code path is that of training, and an evaluation that was
killed or stopped continues where it was.
"""

import time
from collections.abc import Sequence
from typing import Any

import attrs
from rich.console import Console

from ralo.run.stats import History
from ralo_core.client import Client
from ralo_core.errors import RaloError

_POLL_SECONDS = 0.5
_LINE_SECONDS = 5.0


def config_assignments(
    model: str, benchmarks: Sequence[str], samples: int | None, held_out: str
) -> list[str]:
    """Return ``--set`` assignments of a run that asks `benchmarks` of `model`, `samples` times
    where that is given. `held_out` names the benchmark that is there without being in the
    pipeline."""
    named = [name for name in dict.fromkeys(benchmarks) if name != held_out]
    listed = ", ".join(f'"{name}"' for name in named)
    assignments = [f"run.model={model}", f"benchmarks.pipeline=[{listed}]"]
    if samples is not None:
        assignments += [f"benchmarks.{name}.samples={samples}" for name in named]
    if held_out not in benchmarks:
        assignments.append("evaluation.problems=0")
    return assignments


def ask(client: Client, benchmarks: Sequence[str], version: int | None) -> list[dict[str, Any]]:
    """Ask benchmarks of a version of a running run (None: the newest) and wait for the results.

    Raises `ServerError` where one cannot be asked, `RaloError` if the run ends without all results.
    """
    asked = client.request_evaluation(benchmarks, version)
    while True:
        state = client.health()["state"]
        found = [
            result
            for request in asked
            for result in client.eval_results(request["benchmark"], request["version"])
        ]
        if len(found) == len(asked):
            return found
        if state == "finished":
            msg = f"the run ended with {len(found)} of {len(asked)} evaluations finished"
            raise RaloError(msg)
        time.sleep(_POLL_SECONDS)


@attrs.define
class Progress:
    """Shows how far an evaluation is, a line every few seconds and one at every change of state.

    A `ralo.views.view.View`.
    """

    console: Console
    _next: float = attrs.field(default=0.0, init=False)
    _said: str = attrs.field(default="", init=False)

    def show(self, history: History) -> None:
        """Print a line if it is time for one and it says something new."""
        stats = history.latest
        shards = stats["evaluation"]
        left = shards["waiting"] + shards["leased"]
        line = (
            f"{stats['state']}: {shards['reported']} of {left + shards['reported']} shards "
            f"reported, {_samplers(history)}"
        )
        if time.monotonic() >= self._next and line != self._said:
            self._next, self._said = time.monotonic() + _LINE_SECONDS, line
            self.console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing: plain lines hold no terminal."""


def _samplers(history: History) -> str:
    engines = [
        worker["engine"]
        for worker in history.latest["workers"]
        if worker["alive"] and "engine" in worker
    ]
    speed = sum(engine["tokens_per_second"] for engine in engines)
    return f"{len(engines)} samplers, {speed:,.0f} tokens/s"
