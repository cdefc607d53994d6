"""A browser, or what reads as one does, with the dashboard of a hub open."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from edgehub.state import StateFolder
from edgehub.web.folder import USER, WebFolder
from tests.bench.rig import WAIT_S, Hub

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_VIEW: Final = "devices"
_LONG_TASKS: Final = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration);
}).observe({ type: "longtask", buffered: true });
"""


@dataclass(slots=True)
class Dashboard:
    """Where the dashboard of a hub is, and how to get in."""

    base: str
    password: str
    cookies: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def of(cls, hub: Hub) -> Dashboard:
        """The dashboard of a running hub."""
        status = await hub.client.status()
        return cls(status.web, WebFolder(StateFolder(hub.state).web).unused_password())

    async def login(self) -> None:
        """Log in; the process that serves the page runs from now on."""
        async with httpx.AsyncClient(base_url=self.base, timeout=WAIT_S) as client:
            answer = await client.post("/page/login", json={"name": USER, "secret": self.password})
            answer.raise_for_status()
            self.cookies = dict(answer.cookies)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Read]:
        """Have a page open that nothing shows."""
        seen = Read()
        task = asyncio.create_task(self._follow(seen))
        try:
            yield seen
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self, seen: Read) -> None:
        client = httpx.AsyncClient(base_url=self.base, cookies=self.cookies, timeout=httpx.Timeout(WAIT_S))
        async with client, client.stream("GET", "/page/live", params={"kind": "device"}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                seen.events += line.startswith("event: twins")

    @asynccontextmanager
    async def shown(self, playwright: Any) -> AsyncIterator[Any]:
        """Have it open in a browser; gives the page, whose ``window.longest`` is its longest task in milliseconds."""
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            context = await browser.new_context(viewport={"width": 1280, "height": 900})
            name, value = next(iter(self.cookies.items()))
            await context.add_cookies([{"name": name, "value": value, "url": self.base, "sameSite": "Strict"}])
            page = await context.new_page()
            await page.goto(f"{self.base}/#/{_VIEW}")
            await page.wait_for_selector(".card.twin .value", timeout=WAIT_S * 1000)
            await page.evaluate(_LONG_TASKS)
            yield page
        finally:
            await browser.close()


@dataclass(slots=True)
class Read:
    """What has come."""

    events: int = 0
