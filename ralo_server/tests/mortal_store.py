"""A store whose process can be made to die before the commit of its next transaction.

Death is an exception out of the transaction, which
rolls it back, and a new `Store` on the same file; real processes die in tests/chaos. What another
process does between a call's first look and its transaction can be set as `meanwhile`.
"""

import contextlib

from ralo_server.preparation import make_provider
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store
from ralo_server.store.problems import ProblemSource


class KilledError(BaseException):
    """The process ends here."""


class MortalStore:
    """The store of the run in `folder`; `clock` gives the time of its leases."""

    def __init__(self, folder, config, clock):
        self.folder, self.clock, self.doomed, self.meanwhile = folder, clock, False, None
        self.open(config)

    def open(self, config):
        """Open what is on the disk, as a new process does."""
        self.config, self.doomed = config, False
        self.store = Store(RunDirectory(self.folder), config, clock=self.clock)
        self.source = ProblemSource(lambda: make_provider(config))
        self.store.database.write = self._mortal(self.store.database.write)

    def survives(self, action):
        """Return (True, result of `action`), or (False, None) if the process died in it."""
        try:
            return True, action()
        except KilledError:
            self.open(self.config)
            return False, None
        finally:
            self.doomed = False

    def _mortal(self, write):
        @contextlib.contextmanager
        def transaction():
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                meanwhile()
            with write() as connection:
                yield connection
                if self.doomed:
                    raise KilledError

        return transaction
