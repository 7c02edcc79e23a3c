"""Check of the files with the responses behind the results of evaluations."""

from collections.abc import Iterator
from functools import partial

from ralo_server.doctor.finding import Finding, RunUnderTest
from ralo_server.evaluation.results import read_rows
from ralo_server.store import Store


def responses_are_whole(patient: RunUnderTest) -> Iterator[Finding]:
    """The responses of every evaluation that has a result can be read."""
    kept = set(patient.store.versions.published())
    for version, benchmark in patient.store.evaluations.reported():
        path = patient.directory.evaluation_file(version, benchmark)
        try:
            read_rows(patient.directory, version, benchmark)
        except (OSError, ValueError, KeyError) as error:
            yield Finding(
                f"{path.relative_to(patient.directory.root)}: {error}"
                + ("" if version in kept else "; the version is gone, but the result stays"),
                mend="ask the version again" if version in kept else "",
                action=partial(_ask_again, version, benchmark) if version in kept else None,
            )


def _ask_again(version: int, benchmark: str, store: Store) -> None:
    store.evaluations.ask_again(version, benchmark)
