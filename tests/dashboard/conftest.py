"""The browser of the tests of the dashboard, one for each module."""

import pytest
from dashboard.chromium import NoBrowserError, chromium


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the tests are skipped, with the reason, where there is none.

    Of one module: while Playwright runs, no test of this process can have an event loop.
    """
    try:
        with chromium() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.skip(str(error))
