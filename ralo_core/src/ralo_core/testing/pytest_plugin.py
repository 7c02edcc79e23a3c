"""The pytest plugin of the conformance kit: the fixture `ralo_registry`.

pytest imports this in every session where ralo-core is installed, so it imports nothing heavy.
"""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def ralo_registry() -> Any:
    """The registry of all installed plugins; a plugin that fails to load fails the test."""
    from ralo_core.plugins import PluginHost
    from ralo_core.registry import Registry

    return Registry(PluginHost(strict=True).load())
