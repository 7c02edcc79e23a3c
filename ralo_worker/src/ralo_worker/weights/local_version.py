"""`LocalVersion`: a version that lies verified on this machine, and what bringing it cost."""

from pathlib import Path

import attrs

from ralo_core import WeightVersion


@attrs.frozen(kw_only=True)
class LocalVersion:
    """`version` in `directory`; `bytes` came over the network, `seconds` were spent on it, both 0
    if another worker of this machine had fetched it."""

    version: WeightVersion
    directory: Path
    bytes: int = 0
    seconds: float = 0.0
