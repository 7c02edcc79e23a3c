"""The shapes of the trained parameters: written by the learner, read where gradients are validated.

A web process cannot ask the weights themselves: it has no torch, and the model may be large.
"""

import json
from collections.abc import Mapping

from ralo_core.files.atomic import write_blob
from ralo_server.rundir.directory import RunDirectory

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every trained parameter, by name."""


def write_parameter_shapes(directory: RunDirectory, shapes: Shapes) -> None:
    """Write the shapes into the run directory."""
    write_blob(directory.parameters_file, json.dumps(shapes).encode())


def parameter_shapes(directory: RunDirectory) -> dict[str, tuple[int, ...]]:
    """Return what `write_parameter_shapes` wrote; raises `OSError` where nothing is written yet."""
    text = directory.parameters_file.read_text(encoding="utf-8")
    return {name: tuple(shape) for name, shape in json.loads(text).items()}
