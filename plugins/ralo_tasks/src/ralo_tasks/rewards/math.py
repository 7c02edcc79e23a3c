r"""The `math` reward: LaTeX-aware comparison with the reference, ``\boxed{}`` answers included.

The sampler calls `score` from worker threads. The comparison itself runs in a child process
(`ralo_tasks.rewards.grading_process`), which is killed when it takes too long or fails, and started
again for the next one.
"""

import json
import logging
import select
import subprocess
import sys
import threading
from collections.abc import Sequence

from ralo_core import BuildContext, Problem, Response
from ralo_tasks.rewards.settings import MathSettings

log = logging.getLogger(__name__)

_START_SECONDS = 60.0


class MathReward:
    """Satisfies `ralo_core.protocols.Reward`. Thread-safe; one comparison at a time."""

    def __init__(self, settings: MathSettings, context: BuildContext) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def score(self, problem: Problem, responses: Sequence[Response]) -> list[float]:
        """Return `correct` or `wrong` per response; one that cannot be graded in time is wrong."""
        verdicts: dict[str, bool] = {}  # a group often has the same response many times
        for response in responses:
            if response.text not in verdicts:
                with self._lock:
                    verdicts[response.text] = self._ask(problem, response.text)
        return [
            self._settings.correct if verdicts[response.text] else self._settings.wrong
            for response in responses
        ]

    def close(self) -> None:
        """End the child process."""
        with self._lock:
            self._end()

    def _ask(self, problem: Problem, text: str) -> bool:
        seconds = self._settings.timeout_seconds
        request = {"reference": problem.answer, "text": text}
        try:
            line = self._exchange(json.dumps(request), seconds)
        except (TimeoutError, OSError) as error:
            self._end()
            log.warning("a response to problem %s counts as wrong: %s", problem.id, error)
            return False
        return bool(json.loads(line)["correct"])

    def _exchange(self, request: str, seconds: float) -> str:
        """Send one line and return the child's line; raises `TimeoutError` or `OSError`."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            msg = f"no verdict within {seconds:g} s"
            raise TimeoutError(msg)
        line = self._process.stdout.readline()
        if not line:
            msg = "the comparison ended its process (see the log above)"
            raise OSError(msg)
        return line

    def _start(self) -> subprocess.Popen[str]:
        """Return a process that has imported everything, so that only grading is timed."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ralo_tasks.rewards.grading_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._exchange(json.dumps({"reference": "1", "text": r"\boxed{1}"}), _START_SECONDS)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
