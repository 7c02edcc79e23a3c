"""`Finding`: something that a check saw, and what can be done about it; `RunUnderTest`: where."""

from collections.abc import Callable

import attrs

from ralo_core.protocols import GradientCodec
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store


@attrs.frozen(kw_only=True)
class RunUnderTest:
    """A run to be looked at; `running` says whether an orchestrator works in it now."""

    store: Store
    codec: GradientCodec
    running: bool

    @property
    def directory(self) -> RunDirectory:
        """The run directory."""
        return self.store.directory


@attrs.frozen
class Finding:
    """A fault, or with `fault` false something worth knowing.

    `mend` says what ``--fix`` would do and `action` does it, on a store that may be written;
    both are empty where nothing safe can be done.
    """

    what: str
    fault: bool = attrs.field(default=True, kw_only=True)
    mend: str = attrs.field(default="", kw_only=True)
    action: Callable[[Store], object] | None = attrs.field(default=None, kw_only=True)
