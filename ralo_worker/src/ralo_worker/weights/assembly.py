"""How a version is made on this machine: which files are linked, which are fetched.

Neighbours: `weights.cache` calls it with an empty folder and swaps that in when it is whole;
`weights.parts` fetches, `weights.local` knows what is there already.
"""

import os
from pathlib import Path

from ralo_core.data import WeightVersion
from ralo_worker.weights.local import LocalVersions
from ralo_worker.weights.parts import PartFetcher


def assemble(
    version: WeightVersion, folder: Path, local: LocalVersions, fetcher: PartFetcher
) -> int:
    """Put every file of `version` into the empty `folder`; return the bytes that were fetched.

    Raises what `PartFetcher.fetch` raises; `folder` holds half a version then.
    """
    known, fetched = local.files(), 0
    for file in version.files:
        if file.sha256 in known:
            # Config and tokenizer are the same in every version.
            os.link(known[file.sha256], folder / file.name)
        else:
            fetched += fetcher.fetch(file, folder / file.name)
    return fetched
