"""Imports the packages before pytest does, for their folders have the same names.

In importlib mode pytest names a test module after its path, `ralo_server.tests.test_x`, and
makes a namespace package of the folder `ralo_server/` unless that name is already imported.
"""

import contextlib
import importlib

for package in ("ralo", "ralo_core", "ralo_server", "ralo_worker"):
    with contextlib.suppress(ModuleNotFoundError):  # a session may install only some of them
        importlib.import_module(package)
