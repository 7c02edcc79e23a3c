"""A headless Chromium of this machine, pages in it, and what went wrong in them."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ("--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")


class NoBrowserError(Exception):
    """There is no Chromium on this machine, or no Playwright to drive it."""


@contextmanager
def chromium():
    """Yield a browser; raises `NoBrowserError` where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        msg = "no Playwright: pip install playwright"
        raise NoBrowserError(msg) from error
    with sync_playwright() as driver:
        path = next(filter(None, map(shutil.which, COMMANDS)), driver.chromium.executable_path)
        if not Path(path).exists():
            msg = f"no browser: none of {', '.join(COMMANDS)}, and no `playwright install chromium`"
            raise NoBrowserError(msg)
        # Chromium refuses to run its sandbox as root.
        options = [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = driver.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@contextmanager
def open_page(browser, url, size="desktop", theme="light", token=""):
    """Yield a page at `url`; `page.faults` lists what its console, scripts and requests complain
    of."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
    )
    context.set_default_timeout(20_000)
    if token:
        context.add_init_script(f"sessionStorage.setItem('ralo.token', '{token}')")
    page = context.new_page()
    page.faults = []
    page.on("console", lambda message: note(page, message.type == "error", message.text))
    page.on("pageerror", lambda error: note(page, True, str(error)))
    page.on("response", lambda answer: note(page, answer.status >= 400, answer.url))
    page.on("requestfailed", lambda request: note(page, is_loss(request), request.url))
    page.goto(url)
    yield page
    context.close()


def note(page, bad, text):
    if bad:
        page.faults.append(text)


def is_loss(request):
    """Say whether a request failed that the page did not give up itself, as it does with the
    stream of events."""
    return request.failure != "net::ERR_ABORTED"
