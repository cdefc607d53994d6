"""Debian's own Chromium, driven by Playwright; what is tried with it is skipped where it is missing."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 30_000
ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / ".cache" / "dashboard"
IMAGES = ROOT / "docs" / "images"
"""What pages show; written anew by `make docs-images` alone, or each run of the tests would change the tree."""
SHOWN = ("overview", "devices-light", "devices-dark", "twin", "mesh", "offline", "phone-devices", "fleet")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Without its sandbox where we are root, which it refuses otherwise."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One person with a browser, whose page must not complain of anything."""

    def __init__(self, browser: Browser, base: str, **more):
        self.base = base
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **more})
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, kind, text):
        if kind == "error" and "status of" not in text:  # an answer that is an error is shown by the page itself
            self.complaints.append(text)

    def login(self, password, user="admin"):
        self.page.goto(self.base)
        self.page.fill("#name", user)
        self.page.fill("#secret", password)
        self.page.click("button:has-text('Log in')")

    def go(self, place):
        """Open a view, which is there when its place in the menu is marked: keys pressed before that would be lost."""
        self.page.goto(f"{self.base}/#/{place}")
        name = re.split("[/?]", place)[0]
        menu = "devices" if name == "twin" else name
        self.page.wait_for_selector(f"nav.places a[aria-current=page][href^='#/{menu}']", state="attached")

    def see(self, script, argument=None):
        """Wait until a condition holds on the page."""
        self.page.wait_for_function(script, arg=argument, timeout=WAIT_MS)

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def shot(self, name, *, full=False):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=full)
        if os.environ.get("EDGETWIN_IMAGES") and name in SHOWN:
            IMAGES.mkdir(exist_ok=True)
            shutil.copyfile(SHOTS / f"{name}.png", IMAGES / f"{name}.png")
