"""How a version is made on this machine: of deltas, of what is linked and of what is fetched.

Deltas from a version that lies here are the short way. Else each file is linked from a version that
has the same, or fetched.
"""

import os
from pathlib import Path

from ralo_core.data import WeightVersion
from ralo_worker.weights.deltas import Ask, make_from_present
from ralo_worker.weights.local import LocalVersions
from ralo_worker.weights.parts import PartFetcher


def assemble(
    version: WeightVersion, folder: Path, local: LocalVersions, fetcher: PartFetcher, ask: Ask
) -> int:
    """Put every file of `version` into the empty `folder`; return the bytes that were fetched.

    `ask` gives the deltas between two versions. Raises what `PartFetcher.fetch` raises; `folder`
    holds half a version then.
    """
    fetched = make_from_present(version, folder, local.versions(), ask, fetcher.fetch)
    return _whole(version, folder, local, fetcher) if fetched is None else fetched


def _whole(version: WeightVersion, folder: Path, local: LocalVersions, fetcher: PartFetcher) -> int:
    known, fetched = local.files(), 0
    for file in version.files:
        if file.sha256 in known:
            # Config and tokenizer are the same in every version.
            os.link(known[file.sha256], folder / file.name)
        else:
            fetched += fetcher.fetch(file, folder / file.name)
    return fetched
