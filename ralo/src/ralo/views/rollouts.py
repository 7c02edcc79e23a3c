"""Rollouts in the terminal: a table of many, and one as a tree.

Texts are what a model wrote: what would move the cursor or change colours is made visible instead.
"""

import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

Document = Mapping[str, Any]

_PROMPT = -1
_HEADINGS = (
    "no.", "step", "v", "leaves", "reward", "solved", "tokens", "depth", "state", "when",
)  # fmt: skip
_LEAST_PROMPT = 6
_LOW, _VERY_LOW = -0.5, -1.5
"""Mean log-probs below which a segment looks unsure, and very unsure."""


def rollout_table(rows: Sequence[Document], width: int) -> Table:
    """Return a line per tree, as they come, of at most `width` columns if that is 70 or more."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in _HEADINGS:
        number = heading not in ("state", "when")
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    cells = [_cells(row) for row in rows]
    table.add_column("prompt", no_wrap=True, max_width=max(_LEAST_PROMPT, width - _taken(cells)))
    for row, others in zip(rows, cells, strict=True):
        table.add_row(*others, Text(one_line(row["prompt"]), overflow="ellipsis"))
    return table


def _taken(rows: Sequence[Sequence[str]]) -> int:
    """Return how many columns of the terminal the cells take, with a space behind each."""
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return sum(widths) + len(widths)


def _cells(row: Document) -> Sequence[str]:
    return (
        str(row["number"]),
        "" if row["step"] is None else str(row["step"]),
        str(row["version"]),
        str(row["leaves"]),
        f"{row['reward']:.3f}",
        "" if row["solved"] is None else f"{row['solved']:.0%}",
        f"{row['tokens']:,}",
        "" if row["depth"] is None else str(row["depth"]),
        row["state"],
        time.strftime("%H:%M", time.localtime(row["time"])) if row["time"] else "",
    )


def rollout_tree(rollout: Document, characters: int) -> RenderableType:
    """Return a rollout drawn as a tree; of each text at most so many `characters`, 0: all."""
    problem = rollout["problem"]
    taken = "not trained on yet" if rollout["step"] is None else f"step {rollout['step']}"
    heading = Text.assemble(
        (f"rollout {rollout['number']}", "bold"),
        f"  problem {problem['id']}  version {rollout['version']}  {taken}  answer ",
        (printable(str(problem["answer"])), "bold"),
    )
    root = Tree(_cut(rollout["prompt"], characters), guide_style="dim")
    branches = {_PROMPT: root}
    for segment in rollout["segments"]:
        text = Group(_summary(segment), _cut(segment["text"], characters))
        branches[segment["index"]] = branches[segment["parent"]].add(text)
    for leaf in rollout["leaves"]:
        branches[leaf["segment"]].add(_leaf(leaf))
    return Group(heading, root)


def _summary(segment: Document) -> Text:
    """Return a segment's numbers; the colour is that of its mean log-prob."""
    logprob, advantage = segment["logprob"], segment["advantage"]
    parts = [f"v{segment['version']}", f"{segment['tokens']} tokens"]
    parts += [] if logprob is None else [f"log-prob {logprob:.2f}"]
    parts += [] if advantage is None else [f"advantage {advantage:+.2f}"]
    unsure = logprob is not None and logprob < _LOW
    colour = "red" if unsure and logprob < _VERY_LOW else "yellow" if unsure else "green"
    return Text("  ".join(parts), colour)


def _leaf(leaf: Document) -> Text:
    rewards = ", ".join(f"{name} {value:g}" for name, value in leaf["rewards"].items())
    return Text.assemble(
        ("● ", "cyan"),
        (f"reward {leaf['reward']:g}", "bold"),
        f" ({rewards})" if rewards else "",
        f"  {leaf['finish_reason']}  {leaf['tokens']} tokens",
    )


def _cut(text: str, characters: int) -> Text:
    shown = text if not characters or len(text) <= characters else f"{text[:characters]}…"
    return Text(printable(shown))


def one_line(text: str) -> str:
    """Return `text` on one line, as `printable` has it."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey, and what is no character, as ``\\x1b`` and the
    like; lines stay lines."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else character.encode("unicode_escape").decode()
        for character in text
    )
