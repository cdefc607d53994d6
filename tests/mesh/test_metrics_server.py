"""GET /metrics, and nothing else."""

import asyncio
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh.metrics_server import LONGEST_HEAD_BYTES, MOST_CLIENTS, MetricsServer
from mesh.snapshot import Snapshot


@pytest.fixture
async def server():
    server = MetricsServer(lambda: Snapshot(1.0, dropped_log_lines=7), patience_s=0.3)
    await server.open("127.0.0.1", 0)
    yield server
    await server.close()


async def said(server, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_metrics_are_served(server):
    def fetched():
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    content_type, text = await asyncio.to_thread(fetched)
    assert content_type.startswith("text/plain; version=0.0.4")
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "edgetwin_mesh_access_log_dropped"]
    assert family.samples[0].value == 7


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/x HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"GET /metrics?name=x HTTP/1.1", b"200"),
        (b"\xff\xfe", b"404"),
        (b"", b"404"),
    ],
)
async def test_anything_else_is_refused(server, request_line, status):
    answer = await said(server, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.split(b" ")[1] == status


async def test_a_client_that_says_too_much_or_nothing_is_left(server):
    assert await said(server, b"x" * (LONGEST_HEAD_BYTES + 10)) == b""
    assert await said(server, b"GET /metrics") == b""


async def test_clients_are_bounded(server):
    waiting = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MOST_CLIENTS)]
    assert await said(server, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    for _, writer in waiting:
        writer.close()


async def test_closing_leaves_no_client_behind():
    server = MetricsServer(lambda: Snapshot(1.0))
    await server.open("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET")
    await server.close()
    async with asyncio.timeout(10):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    await server.close()
