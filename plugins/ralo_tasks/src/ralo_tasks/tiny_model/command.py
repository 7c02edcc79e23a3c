"""``ralo model``: makes the embedded tiny model.

``ralo run`` calls this command where no model is given.
"""

from pathlib import Path

import click

from ralo_core.errors import RaloError


@click.group()
def model() -> None:
    """Make the embedded tiny model."""


@model.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of weights and warm-up data.")
@click.option(
    "--warmup-steps",
    type=click.IntRange(min=0),
    help="At most so many supervised steps; 0: random weights.",
)
def tiny(directory: Path, seed: int, warmup_steps: int | None) -> None:
    """Write a Qwen2 of 0.74 M parameters, taught to add by a careless teacher, to DIRECTORY.

    It is made once: a second call with the same options finds it there.
    """
    from ralo_tasks.tiny_model.model import WARMUP_STEPS, is_tiny_model, make_tiny_model

    if directory.exists() and any(directory.iterdir()) and not is_tiny_model(directory):
        msg = f"{directory} is not empty and holds no tiny model; choose another folder"
        raise RaloError(msg)
    steps = WARMUP_STEPS if warmup_steps is None else warmup_steps
    made = make_tiny_model(directory, seed, steps)
    click.echo(f"{'wrote' if made else 'found'} the tiny model of seed {seed} in {directory}")
