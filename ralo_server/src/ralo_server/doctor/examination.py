"""Runs every check on a run directory, and mends what is safe to mend.

Looking changes nothing; a repair needs the lock of the run.
"""

from collections.abc import Callable, Iterator, Sequence

from ralo_core.components import BuildContext
from ralo_server.doctor.evaluations import responses_are_whole
from ralo_server.doctor.finding import Finding, RunUnderTest
from ralo_server.doctor.orphans import orphans
from ralo_server.doctor.queues import (
    gradients_are_whole,
    kept_trees_are_whole,
    trees_are_whole,
)
from ralo_server.doctor.state import (
    foundations,
    lock_is_held,
    next_step_has_room,
    tokens_are_private,
)
from ralo_server.doctor.versions import (
    newest_state_is_whole,
    versions_are_whole,
    versions_can_be_gone_back_to,
)
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store

CHECKS: Sequence[Callable[[RunUnderTest], Iterator[Finding]]] = (
    lock_is_held,
    tokens_are_private,
    next_step_has_room,
    trees_are_whole,
    kept_trees_are_whole,
    gradients_are_whole,
    versions_are_whole,
    versions_can_be_gone_back_to,
    newest_state_is_whole,
    responses_are_whole,
    orphans,
)


def examine(directory: RunDirectory, running: bool) -> list[Finding]:
    """Return what all checks find; nothing is changed."""
    found = list(foundations(directory))
    if found:
        return found
    config, _ = directory.load_config(("codec",))
    patient = RunUnderTest(
        store=Store(directory, config, read_only=True),
        codec=config.build("codec", BuildContext(role="orchestrator")),
        running=running,
    )
    return [finding for check in CHECKS for finding in check(patient)]


def mend(directory: RunDirectory, found: Sequence[Finding]) -> None:
    """Do what can be done about `found`; the caller holds the lock."""
    config, _ = directory.load_config(())
    store = Store(directory, config)
    for finding in found:
        if finding.action is not None:
            finding.action(store)
