"""A page over a real engine: browser's requests over a real socket, verbs over the link in memory."""

import asyncio
import contextlib
import json
import socket

import httpx
import pytest
import uvicorn

from tests.twin.conftest import *  # noqa: F403  # the engine and its tank
from twin.api import ApiServer, Served, TwinVerbs
from twin.client import TwinClient
from twin.link.memory import MemoryBroker
from twin.page.app import Page
from twin.page.sessions import Sessions
from twin.page.site import Visitor
from twin.wire.api import StatusReply, StatusRequest, Verb

WAIT_S = 10.0
SECRET = "the secret of the test"


class OneVisitor:
    """Lets in who knows the secret, until it is another."""

    def __init__(self):
        self.secret = SECRET
        self.may_write = True

    async def admit(self, name, secret):
        return secret if (name, secret) == ("admin", self.secret) else None

    async def visitor(self, holder):
        return Visitor("admin", self.may_write) if holder == self.secret else None


class Site:
    name = "gw-1"
    fleet = False

    def __init__(self, client):
        self._client = client

    async def client(self, _):
        return self._client

    async def status(self, _):
        return await self._client.status()

    async def mesh(self, _):
        return None

    async def pod_log(self, pod, container, lines):
        return f"{pod.twin} {container} {lines}"


class Browser:
    """One browser: cookies, the token of its page."""

    def __init__(self, base):
        self.base = base
        self.http = httpx.AsyncClient(base_url=base, timeout=WAIT_S)
        self.csrf = ""

    async def login(self, secret=SECRET, name="admin"):
        answer = await self.http.post("/page/login", json={"name": name, "secret": secret})
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    async def get(self, path, **params):
        return await self.http.get(path, params=params)

    async def post(self, path, body=None, **headers):
        return await self.http.post(path, json=body or {}, headers={"x-csrf": self.csrf, **headers})

    @contextlib.asynccontextmanager
    async def live(self, **params):
        """The events of an open page: ``await hear(name)`` is the next of a name."""
        async with self.http.stream("GET", "/page/live", params=params) as answer:
            assert answer.status_code == 200, await answer.aread()
            lines = answer.aiter_lines()

            async def hear(*names, until=lambda said: True):
                async with asyncio.timeout(WAIT_S):
                    name = ""
                    async for line in lines:
                        if line.startswith("event: "):
                            name = line.removeprefix("event: ")
                        elif line.startswith("data: ") and name in names:
                            said = json.loads(line.removeprefix("data: "))
                            if until(said):
                                return said
                raise AssertionError("the stream has ended")

            yield hear


@pytest.fixture
def gatekeeper():
    return OneVisitor()


@pytest.fixture
async def page(tank, gatekeeper):
    broker = MemoryBroker()

    async def status(_request, _caller):
        return StatusReply(
            gateway="gw-1", version="1", pid=1, started_at=1, state_folder="/", broker="b", twins=1, devices=1
        )

    async with broker.link() as hub, broker.link() as own:
        verbs = {**TwinVerbs(tank.engine, hub, tank.clock).verbs(), Verb.STATUS: Served(StatusRequest, status)}
        server = ApiServer(hub, verbs)
        await server.open()
        async with TwinClient(own, account="web", client="1", timeout_s=WAIT_S) as client:
            sessions = Sessions(lambda: tank.clock.now_us() // 1000)
            made = Page(Site(client), gatekeeper, sessions, names=["gw-1"], secure=False)
            yield made
            await made.close()
        await server.close()


@pytest.fixture
async def base(page):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(page.app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await asyncio.wait_for(serving, WAIT_S)


@pytest.fixture
async def browser(base):
    made = Browser(base)
    yield made
    await made.http.aclose()


@pytest.fixture
async def visitor(browser):
    """A browser that is logged in."""
    assert (await browser.login()).status_code == 200
    return browser
