"""Weight versions, beside `ralo_core.data.WeightVersion`, the reply of ``/weights/version``."""

from collections.abc import Mapping
from typing import Any

import attrs

from ralo_core.data import DeltaLink, WeightVersion


@attrs.frozen(kw_only=True)
class WeightManifest(WeightVersion):
    """Reply of ``GET /weights/manifest``: the version, and its tensors by name where they were
    written down. Clients of ours do not read them; others need them to fetch single tensors."""

    tensors: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Deltas:
    """Reply of ``GET /weights/delta``: the deltas in the order in which they are applied."""

    links: tuple[DeltaLink, ...]
