"""A browser that opens the dashboard: how long until a view has drawn what it shows.

It needs Playwright and a Chromium on this machine.
"""

import os
import shutil
import time
from collections.abc import Mapping
from typing import Any

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ("--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
DRAWN = {
    "learning": (".charts canvas", 7),
    "system": ("main table tbody tr", 7),
    "rollouts": ("main table tbody tr", 50),
}
"""What a view has on it once it is drawn, and how many of them at least."""


def page_loads(url: str, repeats: int = 5) -> Mapping[str, list[float]] | None:
    """Return for each view, with nothing in the browser's cache, the seconds from the address to
    the drawn page; None where there is no browser."""
    path = next(filter(None, map(shutil.which, COMMANDS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if path is None:
        return None
    options = [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=options)
        found = {view: [_seconds(browser, url, view) for _ in range(repeats)] for view in DRAWN}
        browser.close()
    return found


def _seconds(browser: Any, url: str, view: str) -> float:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page, begun = context.new_page(), time.monotonic()
    page.goto(f"{url}/#/{view}")
    what, least = DRAWN[view]
    page.locator(what).nth(least - 1).wait_for()
    seconds = time.monotonic() - begun
    context.close()
    return seconds
