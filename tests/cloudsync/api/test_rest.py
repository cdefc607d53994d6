"""The API over HTTP: a real server on loopback, a real hub and store behind it."""

import asyncio
import contextlib
import json
import threading
import time
import urllib.error
import urllib.request

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cloudsync.identity.bearer import Bearer
from cloudsync.identity.rate import RateLimit
from cloudsync.identity.secret import hashed
from cloudsync.rest import PREFIX, rest_router
from cloudsync.store.opening import open_store
from cloudsync.web import web_app
from tests.cloudsync.api.conftest import ROLES, Cloud, tank, until
from twin.client import TwinClient
from twin.clock import SystemClock
from twin.link.memory import MemoryBroker


class Tokens:
    """The identity store's one question, with each user's name as the token."""

    async def user_of(self, token_hash):
        found = {hashed(name): name for name in ROLES}.get(token_hash)
        return None if found is None else type("Account", (), {"name": found, "role": ROLES[found]})()


class Site:
    """The cloud on a loop in a thread of its own, so that blocking clients can ask it."""

    def __init__(self, folder):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        self.run(self._open(folder))

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self):
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _open(self, folder):
        stack = self._stack
        store = open_store(f"sqlite:///{folder / 'cloud.db'}", SystemClock())
        await store.open()
        stack.push_async_callback(store.close)
        await store.begin_run("run-1")
        self.cloud = Cloud(store, MemoryBroker(), folder)
        await self.cloud.add_worker(stack)
        link = await stack.enter_async_context(self.cloud.broker.link())
        await link.connected(5)
        clients = {}

        async def client_of(account):
            if account not in clients:
                client = TwinClient(link, account=account, client="web", timeout_s=5, cloud=True)
                clients[account] = await stack.enter_async_context(client)
            return clients[account]

        app = web_app()
        app.include_router(rest_router(client_of, Bearer(Tokens(), RateLimit(10_000, time.monotonic))))
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        self._serving = asyncio.ensure_future(self._server.serve())
        await until(lambda: _started(self._server))
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        await self.cloud.define(tank(), labels=[("area", "hall")])
        await self.cloud.report(tank(), level=42.5)

    async def _close(self):
        self._server.should_exit = True
        await self._serving
        await self._stack.aclose()

    def ask(self, path, *, method="GET", body=None, user="ann", headers=()):
        request = urllib.request.Request(self.url + path, method=method)
        if user:
            request.add_header("Authorization", f"Bearer {user}")
        for name, value in headers:
            request.add_header(name, value)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=20) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


async def _started(server):
    return server.started


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("rest"))
    yield made
    made.close()


TANK = f"{PREFIX}/twins/device/plant/tank"


def test_a_twin_is_read_and_set(site):
    status, body = site.ask(TANK)
    assert (status, body["reported"]["level"]["value"]) == (200, 42.5)
    status, reply = site.ask(TANK, method="PATCH", body={"desired": {"valve": 40}})
    assert status == 200
    status, body = site.ask(TANK)
    assert (body["version"], body["desired"]["valve"]) == (
        reply["version"],
        {**body["desired"]["valve"], "value": 40, "by": "ann"},
    )


def test_lists_queries_and_the_rest_of_the_verbs(site):
    assert [one["twin"] for one in site.ask(f"{PREFIX}/twins?kind=device")[1]["twins"]] == ["device/plant/tank"]
    asked = {"query": "SELECT name FROM twins WHERE tags.area = 'hall'"}
    assert site.ask(f"{PREFIX}/query", method="POST", body=asked)[1]["rows"] == [["tank"]]
    assert site.ask(f"{TANK}/explain?property=valve")[0] == 200
    assert site.ask(f"{TANK}/history?property=level")[1]["code"] == "history_off"
    asked = {"where": "tags.area = 'hall'", "desired": {"valve": 41}, "dry_run": True}
    assert site.ask(f"{PREFIX}/set-where", method="POST", body=asked)[1]["matched"] == 1
    assert site.ask(f"{PREFIX}/status")[1]["gateways"][0]["gateway"] == "gw-1"
    assert site.ask(f"{PREFIX}/audit", user="root")[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "body", "user", "status", "code"),
    [
        (TANK, "GET", None, "", 401, "unauthorized"),
        (TANK, "GET", None, "nobody", 401, "unauthorized"),
        (TANK, "PATCH", {"desired": {"valve": 1}}, "vic", 403, "not_allowed"),
        (f"{PREFIX}/audit", "GET", None, "ann", 403, "not_allowed"),
        (f"{PREFIX}/twins/device/plant/nothing", "GET", None, "ann", 404, "unknown_twin"),
        (f"{PREFIX}/twins/engine/plant/tank", "GET", None, "ann", 400, "invalid_name"),
        (f"{PREFIX}/twins?limit=0", "GET", None, "ann", 400, "invalid_message"),
        (f"{PREFIX}/twins?limit=ten", "GET", None, "ann", 400, "invalid_message"),
        (TANK, "PATCH", {"desired": {"valve": 101}}, "ann", 422, "invalid_value"),
        (TANK, "PATCH", {"desired": {"nothing": 1}}, "ann", 422, "unknown_property"),
        (TANK, "PATCH", {"desired": {"valve": 1}, "version": 0}, "ann", 409, "version_mismatch"),
        (TANK, "PATCH", {"desire": {}}, "ann", 400, "invalid_message"),
        (TANK, "PATCH", b'{"desired": {"valve": 1, "valve": 2}}', "ann", 400, "invalid_message"),
        (TANK, "PATCH", b"{", "ann", 400, "invalid_message"),
        (TANK, "PATCH", b" " * (5 * 1024 * 1024), "ann", 413, "too_large"),
        (f"{PREFIX}/query", "POST", {"query": "DELETE FROM twins"}, "ann", 422, "invalid_query"),
        (f"{PREFIX}/nothing", "GET", None, "ann", 404, "http"),
    ],
)
def test_what_cannot_be_is_said_with_a_status_a_code_and_a_remedy(site, path, method, body, user, status, code):
    before = site.ask(TANK)[1]
    found, answer = site.ask(path, method=method, body=body, user=user)
    assert (found, answer["code"]) == (status, code), answer
    assert answer["message"]
    assert answer["remedy"]
    assert site.ask(TANK)[1] == before


def test_a_watch_is_a_stream_of_events(site):
    request = urllib.request.Request(
        f"{site.url}{PREFIX}/watch?twin=plant/tank", headers={"Authorization": "Bearer vic"}
    )
    with urllib.request.urlopen(request, timeout=10) as stream:

        def event():
            line = stream.readline()
            assert stream.readline() == b"\n"
            return json.loads(line.removeprefix(b"data: "))

        assert event()["initial"]
        assert event() == {"ready": True}
        site.run(site.cloud.report(tank(), level=1.25))
        assert event()["body"]["reported"]["level"]["value"] == 1.25


def test_a_watch_that_is_refused_says_why_in_the_stream(site):
    request = urllib.request.Request(f"{site.url}{PREFIX}/watch?query=nothing", headers={"Authorization": "Bearer vic"})
    with urllib.request.urlopen(request, timeout=10) as stream:
        assert stream.readline() == b"event: error\n"
        assert json.loads(stream.readline().removeprefix(b"data: "))["code"] == "invalid_query"


def test_requests_of_every_kind_are_answered_as_the_description_says(site):
    described = schemathesis.openapi.from_url(f"{site.url}/openapi.json").include(path_regex=f"^{PREFIX}")
    tried = set()
    for found in described.exclude(path_regex="watch").get_all_operations():
        operation = found.ok()

        @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case):
            response = case.call(headers={"Authorization": "Bearer root"}, timeout=20)
            # A name, and a query, has a grammar of its own, which the description does not have.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            assert response.status_code != 503

        check()
        tried.add(operation.label)
    assert len(tried) == 11
