"""Checks of what a run stands on: its config, state.db, lock, tokens, disk.

`foundations` comes first: where they do not hold, nothing else can be looked at.
"""

import shutil
from collections.abc import Iterator

from ralo_core.errors import RaloError
from ralo_server.doctor.finding import Finding, RunUnderTest
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.listing import size_on_disk
from ralo_server.rundir.lock import ended_by_force
from ralo_server.store.views.inspection import ill_health, schema_lag


def foundations(directory: RunDirectory) -> Iterator[Finding]:
    """Config and state.db can be read, and by this version of ralo-server."""
    try:
        directory.settings()
    except (RaloError, ValueError) as error:
        yield Finding(f"config.json cannot be read: {error}")
    if not directory.state.is_file():
        yield Finding("state.db is gone: the run is lost but for its weights")
        return
    illness = ill_health(directory.state)
    for line in illness:
        yield Finding(f"state.db is damaged: {line}")
    lag = 0 if illness else schema_lag(directory.state)
    if lag < 0:
        yield Finding("state.db was written by a newer ralo-server: update this one")
    elif lag > 0:
        yield Finding(
            f"state.db is {lag} schema version{'s' * (lag > 1)} older than this ralo-server: the "
            "rest can be checked once it is brought up to date",
            mend="do so, as the next start does",
            action=lambda store: None,  # a store that may be written has done it by opening
        )


def lock_is_held(patient: RunUnderTest) -> Iterator[Finding]:
    """Say who works in the directory."""
    if patient.running:
        pid = patient.directory.lock_file.read_text()
        yield Finding(f"an orchestrator is running here (process {pid})", fault=False)
    elif ended_by_force(patient.directory):
        yield Finding(
            "the last orchestrator was killed; its lock is free, the next start goes on",
            fault=False,
        )


def tokens_are_private(patient: RunUnderTest) -> Iterator[Finding]:
    """Nobody but the owner can read the tokens."""
    file = patient.directory.tokens_file
    if file.is_file() and file.stat().st_mode & 0o077:
        yield Finding(
            f"others can read {file.name}",
            mend="take their rights away",
            action=lambda store: file.chmod(0o600),
        )


def next_step_has_room(patient: RunUnderTest) -> Iterator[Finding]:
    """The disk has room for one more optimizer state and version."""
    directory, store = patient.directory, patient.store
    folders = [store.versions.directory(store.versions.newest_number())]
    if name := store.versions.newest_origin().checkpoint:
        folders.append(directory.optimizer / name)
    needed = sum(size_on_disk(folder) for folder in folders)
    free = shutil.disk_usage(directory.root).free
    if free < needed:
        yield Finding(
            f"the disk has {free:,} bytes left, the next step writes about {needed:,}: make room, "
            "or keep fewer versions (learner.keep_last_versions)"
        )
