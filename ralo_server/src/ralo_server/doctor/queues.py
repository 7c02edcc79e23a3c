"""Checks of the sample and the gradient queue: every row that is needed has its blob, whole, and so
has every tree that is kept to be looked at.

Neighbours: `store.inspection` gives the rows, `store.mending` says what becomes of one whose
blob is gone; `doctor.strays` looks for the opposite.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ralo_core import wire
from ralo_core.errors import WireError
from ralo_server.doctor.finding import Finding, RunUnderTest
from ralo_server.gradients.checks import inspect
from ralo_server.gradients.parameters import parameter_shapes
from ralo_server.store import Store
from ralo_server.store.inspection import kept_trees, needed_trees
from ralo_server.store.repair import forget_gradient, forget_kept_tree, forget_tree

_GONE = "the file is gone"


def trees_are_whole(patient: RunUnderTest) -> Iterator[Finding]:
    """Every tree that a trainer will get can be read."""
    for row in needed_trees(patient.store.database):
        fault = _unreadable_tree(patient.directory.samples / row.blob)
        if fault:
            yield Finding(
                f"tree {row.blob}: {fault}",
                mend="let its problem be sampled again",
                action=partial(_forget_tree, row.lease_id),
            )


def kept_trees_are_whole(patient: RunUnderTest) -> Iterator[Finding]:
    """Every tree that is kept to be looked at can be read."""
    for row in kept_trees(patient.store.database):
        fault = _unreadable_tree(patient.directory.samples / row.blob)
        if fault == _GONE and patient.running:
            continue  # its turn to go has come while we looked
        if fault:
            yield Finding(
                f"tree {row.blob}, kept after its step: {fault}",
                mend="forget it",
                action=partial(_forget_kept_tree, row.lease_id),
            )


def gradients_are_whole(patient: RunUnderTest) -> Iterator[Finding]:
    """Every gradient that waits for a step passes the checks of the door again."""
    if not patient.directory.parameters_file.is_file():
        return  # the learner writes it at its start and is the first to know of a gradient
    shapes = parameter_shapes(patient.directory)
    for gradient in patient.store.gradients.pending():
        fault = "the file is gone"
        if gradient.path.is_file():
            fault = inspect(gradient.path, shapes, patient.codec).detail
        if fault:
            yield Finding(
                f"gradient {gradient.path.name}: {fault}",
                mend="let its trees be trained on again",
                action=partial(_forget_gradient, gradient.facts.upload_id),
            )


def _unreadable_tree(path: Path) -> str:
    try:
        wire.unpack_tree(path.read_bytes())
    except FileNotFoundError:
        return _GONE
    except WireError as error:
        return str(error)
    return ""


def _forget_tree(lease_id: str, store: Store) -> None:
    forget_tree(store.database, lease_id)


def _forget_kept_tree(lease_id: str, store: Store) -> None:
    forget_kept_tree(store.database, lease_id)


def _forget_gradient(upload_id: str, store: Store) -> None:
    forget_gradient(store.database, upload_id)
