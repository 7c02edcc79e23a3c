"""Makes ``docs/images``: every view of the dashboard, at both widths, in both themes.

    nox -s screenshots                    # all of them, some five minutes
    nox -s screenshots -- rollout system  # these views only
    nox -s screenshots -- --runs runs     # keep the runs there, and go on with them another time

Two real runs of the embedded model in one directory: GRPO, finished, and TreePO, which is looked at
while it works.
"""

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
from dashboard.chromium import SIZES, THEMES, chromium, open_page
from PIL import Image

IMAGES = Path(__file__).parent / "images"
VIEWS = {
    "learning": "#/learning",
    "system": "#/system",
    "rollouts": "#/rollouts",
    "rollout": "#/rollouts/{rollout}",
    "evaluations": "#/evaluations",
    "answers": "#/evaluations/held_out/{version}",
    "run": "#/run",
    "compare": "#/compare",
}
BEFORE = ("--plugin", "grpo", "--set", "run.max_steps=20")
STEPS = 60
"""Of TreePO, before it is looked at."""
TREEPO = (
    *("--plugin", "treepo", "--set", "evaluation.every_steps=5"),
    *("--set", "benchmarks.pipeline=['arithmetic']"),
    *("--set", "benchmarks.arithmetic.limit=64", "--set", "benchmarks.arithmetic.samples=4"),
    *("--set", "benchmarks.arithmetic.temperature=1.0"),
    *("--set", "benchmarks.arithmetic.metrics=['mean@k', 'pass@k', 'maj@k']"),
)
MILLISECONDS = 2500
"""For the first events."""
ALL_THERE = """() => [...document.querySelectorAll('.empty')].every(
    (words) => !words.textContent.endsWith('…'))"""
"""Nothing is being waited for, such as the fit of the scaling law."""
COLOURS = 256


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), help="Keep the two runs in this folder.")
@click.argument("views", nargs=-1, type=click.Choice(tuple(VIEWS)))
def main(runs: Path | None, views: tuple[str, ...]) -> None:
    """Run, look, and write the pictures of VIEWS, or of all."""
    IMAGES.mkdir(exist_ok=True)
    with contextlib.nullcontext(runs) if runs else tempfile.TemporaryDirectory() as folder:
        if not Path(folder, "grpo").exists():
            subprocess.run(ralo(folder, "grpo", *BEFORE), check=True)
        with running(folder, "treepo", *TREEPO) as url:
            wait_for_steps(url, STEPS)
            take_pictures(url, views or tuple(VIEWS))


def take_pictures(url: str, views: Sequence[str]) -> None:
    """Write the pictures of `views` of the run at `url`."""
    with chromium() as browser:
        for view, size, theme in itertools.product(views, SIZES, THEMES):
            picture = IMAGES / f"{view}-{size}-{theme}.png"
            address = f"{url}/{VIEWS[view].format(**the_most_telling(url))}"
            with open_page(browser, address, size, theme) as page:
                page.wait_for_selector("main section, main figure, main details")
                page.wait_for_timeout(MILLISECONDS)
                page.wait_for_function(ALL_THERE)
                page.screenshot(path=picture)
                assert not page.faults, page.faults
            reduce_colours(picture)


def ralo(folder: str | Path, name: str, *options: str) -> list[str]:
    """Return the command of a run of the embedded model."""
    return [
        *(sys.executable, "-m", "ralo_core.cli.main", "run", "--tiny"),
        *("--run-dir", f"{folder}/{name}", *options),
    ]


@contextmanager
def running(folder: str | Path, name: str, *options: str) -> Iterator[str]:
    """Start a run and yield its URL; it is stopped at the end."""
    file = Path(folder, name, "server.url")
    file.unlink(missing_ok=True)
    process = subprocess.Popen(ralo(folder, name, *options))
    while not file.exists():
        assert process.poll() is None, "the run ended before it answered"
        time.sleep(0.5)
    yield file.read_text().strip()
    process.terminate()
    process.wait(60)


def get(url: str) -> Any:
    """Return the JSON at `url`."""
    with urlopen(url) as answer:
        return json.load(answer)


def wait_for_steps(url: str, steps: int) -> None:
    """Return when the run has taken so many steps."""
    while get(f"{url}/health")["version"] < steps:
        time.sleep(2)


def the_most_telling(url: str) -> dict[str, int]:
    """Return a tree that was just trained on, its rewards mixed, and an evaluated version."""
    rollouts = get(f"{url}/rollouts?limit=500")["rollouts"]
    trained = [one for one in rollouts if one["state"] == "trained"] or rollouts
    rollout = min(trained[:100], key=lambda one: abs(one["reward"] - 0.5))
    version = get(f"{url}/eval/results?benchmark=held_out")["evaluations"][-1]["version"]
    return {"rollout": rollout["number"], "version": version}


def reduce_colours(picture: Path) -> None:
    """Write a picture again with a palette: a third of the bytes, and looks the same."""
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
