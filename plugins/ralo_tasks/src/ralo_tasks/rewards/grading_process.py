"""``python -m ralo_tasks.rewards.grading_process``: compares responses by math-verify.

`math` starts it as a child process, because some comparisons never end and only killing a process
stops them. It reads one JSON object per line and writes one per line. It ends when its input ends,
and so never outlives the sampler.
"""

import json
import logging
import sys
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from ralo_tasks.final_answer import last_boxed

_TARGETS = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


def is_correct(reference: str, text: str) -> bool:
    """Say whether the result in `text` equals `reference`.

    The last box is the result; without one math-verify looks for an expression itself. Equal
    strings are equal whatever they mean, so that references which are no mathematics work.
    """
    boxed = last_boxed(text)
    expected = last_boxed(reference)
    expected = reference if expected is None else expected
    if boxed is not None and _plain(boxed) == _plain(expected):
        return True
    gold = _parsed(_in_box(expected)) or _parsed(expected)
    found = _parsed(_in_box(boxed)) or _parsed(boxed) if boxed is not None else _parsed(text)
    return bool(gold and found and verify(gold, found, timeout_seconds=None))


def _in_box(content: str) -> str:
    return rf"\boxed{{{content.strip().strip('$')}}}"


def _plain(text: str) -> str:
    """Return the text without what never changes the meaning: spaces and dollar signs."""
    return "".join(text.replace("$", "").split())


def _parsed(text: str) -> Any:
    # The parent has the clock; the library's own one works by signals in the main thread only.
    return parse(text, extraction_config=_TARGETS, parsing_timeout=None)


def main() -> None:
    """Compare what each line holds until the input ends."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    for line in sys.stdin:
        request = json.loads(line)
        correct = is_correct(request["reference"], request["text"])
        sys.stdout.write(json.dumps({"correct": correct}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
