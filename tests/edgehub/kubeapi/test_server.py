"""The server on real sockets: good requests, bad ones, watchers that do not read, and a view that follows the twins."""

import asyncio
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from edgehub.kubeapi import certificate
from edgehub.kubeapi.contents import Here
from edgehub.kubeapi.keys import Tokens
from edgehub.kubeapi.live import Live
from edgehub.kubeapi.server import Bounds, KubeServer
from edgehub.kubeapi.status import READ_ONLY
from edgehub.pods.spec import pod_specs
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import Kind, TwinKey
from twin.sqlite_store import SqliteStore

TOKENS = Tokens(b"k" * 32)
BOUNDS = Bounds()
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: app, image: host, command: [serve]}]}
"""
WEB = TwinKey(Kind.POD, "default", "web")


class Gateway:
    """An engine, documents, and the API on a port of its own."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self.documents = RegistryView()
        self.client = ssl.create_default_context(cafile=folder / "ca.crt")

    @asynccontextmanager
    async def running(self, bounds=BOUNDS):
        store = SqliteStore(self.folder / "state.db")
        store.open()
        clock = SystemClock()
        with ThreadPoolExecutor(1) as executor:
            self.engine = TwinEngine(store, clock=clock, executor=executor)
            self.engine.open()
            here = Here("gw-1", "192.0.2.7", "9.9")
            self.live = Live(lambda: self.documents, self.engine, lambda: here, clock)
            server = KubeServer(self.live, lambda token: TOKENS.is_good(token, ("u-1",)), "9.9", bounds)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.folder / "server.pem")
            await server.open("127.0.0.1", self.port, context)
            try:
                yield self
            finally:
                await server.close()
                await self.live.close()
                await self.engine.close()
                store.close()

    def apply(self, text):
        made = read_documents([Source("test.yaml", text.encode())]).documents
        self.documents, _ = applied(self.documents, made, lambda: "u-1")
        for spec in pod_specs(self.documents, "gw-1"):
            self.engine.define(spec)
        self.live.documents_changed()

    def report(self, **values):
        self.engine.report(WEB, values, {}, at=1, by="hub")

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client, limit=1 << 20)

    async def raw(self, data):
        """Send bytes, and read until the server ends the connection."""
        reader, writer = await self.connect()
        try:
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            with suppress(ConnectionError):
                async with asyncio.timeout(20):
                    return await reader.read()
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def ask(self, target, method="GET", token=None, **headers):
        """One request; its code and its body."""
        said = {"Host": "x", "Connection": "close", "Authorization": f"Bearer {token or TOKENS.local()}", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        answer = await self.raw(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body) if b"json" in head else body.decode()

    @asynccontextmanager
    async def watch(self, target, *, deaf=False):
        """The events of a watch, as they come."""
        reader, writer = await self.connect()
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS.local()}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        if deaf:
            writer.transport.pause_reading()
        try:
            yield events(reader)
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


async def events(reader):
    """Lines of chunks; the end of the stream ends them."""
    rest = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        rest += await reader.readexactly(size)
        await reader.readexactly(2)
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield json.loads(line)


async def following(stream):
    async with asyncio.timeout(20):
        return await anext(stream)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    certificate.make(folder)
    return folder


@pytest.fixture
def gateway(tmp_path, keys, free_port):
    for name in ("ca.crt", "server.pem"):
        (tmp_path / name).write_bytes((keys / name).read_bytes())
    return Gateway(tmp_path, free_port())


async def test_who_has_no_token_learns_nothing(gateway):
    async with gateway.running():
        gateway.apply(POD)
        for wrong in ("wrong", TOKENS.of_pod("u-2"), TOKENS.local()[:-1]):
            for target in ("/api/v1/pods", "/version", "/nothing"):
                code, body = await gateway.ask(target, token=wrong)
                assert (code, body["reason"]) == (401, "Unauthorized")
        assert (await gateway.ask("/api", Authorization="Basic eDp4"))[0] == 401
        assert (await gateway.ask("/api", method="POST", token="wrong"))[0] == 401
        for good in (TOKENS.local(), TOKENS.of_pod("u-1")):
            assert (await gateway.ask("/api/v1/pods", token=good))[0] == 200


async def test_discovery_names_what_is_there(gateway):
    async with gateway.running():
        assert (await gateway.ask("/version"))[1]["gitVersion"].startswith("v1.28.0")
        groups = (await gateway.ask("/apis"))[1]["groups"]
        assert [one["name"] for one in groups] == [
            "discovery.k8s.io",
            "gateway.networking.k8s.io",
            "devices.kubeedge.io",
        ]
        for group in groups:
            version = group["preferredVersion"]["groupVersion"]
            served = (await gateway.ask(f"/apis/{version}"))[1]["resources"]
            assert all(one["verbs"] == ["get", "list", "watch"] for one in served)
            for one in served:
                code, body = await gateway.ask(f"/apis/{version}/{one['name']}")
                assert (code, body["kind"]) == (200, f"{one['kind']}List")
        assert "secrets" not in [one["name"] for one in (await gateway.ask("/api/v1"))[1]["resources"]]
        for path in ("/healthz", "/livez", "/readyz"):
            assert await gateway.ask(path) == (200, "ok")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_nothing_can_be_changed(gateway, method):
    async with gateway.running():
        gateway.apply(POD)
        headers = {"Content-Length": "1000000"} if method != "HEAD" else {}
        answer = await gateway.raw(
            f"{method} /api/v1/namespaces/default/pods/web HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {TOKENS.local()}\r\n".encode()
            + "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
            + b"\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 405")
        assert b"allow: GET" in answer.replace(b"Allow", b"allow")
        assert method == "HEAD" or json.loads(answer.partition(b"\r\n\r\n")[2])["message"] == READ_ONLY
        assert (await gateway.ask("/api/v1/namespaces/default/pods/web"))[0] == 200


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"\x16\x03\x01" * 50 + b"\r\n\r\n", (b"400",)),
        (b"GET /api HTTP/1.1\r\n\r\n", (b"400",)),  # no Host
        (b"GET /api HTTP/x\r\nHost: x\r\n\r\n", (b"400",)),
        (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", (b"400",)),
        (b"GET /api HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", (b"431",)),
        (b"GET /" + b"a" * 100_000, (b"431",)),
        (b"GET /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", (b"400",)),
        (b"GET /api HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000, (b"413",)),
        (b"GET /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (b"400",)),
    ],
)
async def test_what_is_no_request_is_told_and_harms_nobody(gateway, data, codes):
    async with gateway.running():
        answer = await gateway.raw(data)
        assert answer == b"" or answer.split()[1] in codes, answer[:200]
        assert (await gateway.ask("/healthz"))[0] == 200


async def test_many_requests_on_one_connection(gateway):
    async with gateway.running():
        gateway.apply(POD)
        one = f"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS.local()}\r\n".encode()
        answer = await gateway.raw((one + b"\r\n") * 20 + one + b"Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") == 21


async def test_a_watcher_is_told_what_changes(gateway):
    async with (
        gateway.running(),
        gateway.watch("/api/v1/pods?watch=1") as pods,
        gateway.watch("/api/v1/namespaces?watch=1") as spaces,
    ):
        assert (await following(spaces))["object"]["metadata"]["name"] == "default"
        gateway.apply(POD)
        first = await following(pods)
        assert (first["type"], first["object"]["status"]["phase"]) == ("ADDED", "Pending")
        gateway.report(phase="Running", ready=True)
        second = await following(pods)
        while second["object"]["status"]["phase"] != "Running":  # the twin was shown before it was told
            second = await following(pods)
        assert second["type"] == "MODIFIED"
        gateway.documents = RegistryView()
        gateway.live.documents_changed()
        assert (await following(pods))["type"] == "DELETED"


async def test_a_watch_ends_in_time_with_a_bookmark(gateway):
    async with gateway.running(Bounds(bookmark_s=0.2)):
        target = "/api/v1/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=1"
        async with gateway.watch(target) as stream:
            marks = [event["type"] async for event in stream]
        assert len(marks) >= 3
        assert set(marks) == {"BOOKMARK"}


async def test_versions_rise_over_a_restart_and_a_watch_from_before_lists_anew(gateway):
    async with gateway.running():
        gateway.apply(POD)
        before = int((await gateway.ask("/api/v1/pods"))[1]["metadata"]["resourceVersion"])
    async with gateway.running():
        code, body = await gateway.ask(f"/api/v1/pods?watch=1&resourceVersion={before}")
        assert (code, body["reason"]) == (410, "Expired")
        after = int((await gateway.ask("/api/v1/pods"))[1]["metadata"]["resourceVersion"])
        assert after > before


async def test_a_watcher_that_does_not_read_is_cut_and_costs_the_others_nothing(gateway):
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{n: '{}', text: {}}}\n"
    async with gateway.running(Bounds(send_s=0.3)), AsyncExitStack() as stack:
        target = "/api/v1/configmaps?watch=1"
        async with gateway.watch(target, deaf=True):
            (deaf,) = (task for task in asyncio.all_tasks() if task.get_name() == "kubernetes api: connection")
            stream = await stack.enter_async_context(gateway.watch(target))
            for number in range(200):
                gateway.apply(config.format(number, "x" * 200_000))
                while (await following(stream))["object"]["data"]["n"] != str(number):
                    pass
                if deaf.done():
                    break
            assert deaf.done()
            assert not deaf.cancelled()
        assert (await gateway.ask("/healthz"))[0] == 200


async def test_connections_have_a_bound_and_idle_ones_end(gateway):
    async with gateway.running(Bounds(connections=3, first_s=0.5)):
        open_ones = [await gateway.connect() for _ in range(3)]
        with pytest.raises((OSError, ssl.SSLError, AssertionError, IndexError)):
            await gateway.ask("/healthz")
        for reader, writer in open_ones:  # nobody showed a token
            with suppress(OSError):
                async with asyncio.timeout(20):
                    assert await reader.read() == b""
            writer.close()
        assert (await gateway.ask("/healthz"))[0] == 200
