"""Probes: what counts as well, and the three ways to ask, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.pods.probes import Answer, Tally, ask_http, ask_tcp
from twin.manifest.kube import Container, Probe

APP = {"name": "app", "image": "host", "command": ["app"]}


@pytest.mark.fast
@given(st.lists(st.booleans()), st.integers(1, 4), st.integers(1, 4))
def test_a_verdict_needs_as_many_answers_in_a_row_as_asked(answers: list[bool], good: int, bad: int) -> None:
    probe = Probe.model_validate({"exec": {"command": ["x"]}, "successThreshold": good, "failureThreshold": bad})
    tally = Tally()
    for index, well in enumerate(answers, 1):
        tally = tally.after(well)
        row = next((back for back in range(index) if answers[index - 1 - back] is not well), index)
        assert tally.verdict(probe) == (well if row >= (good if well else bad) else None)


async def ask(answer: bytes, free_port: Callable[[], int], *, named: bool = False) -> Answer:
    port = free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")
        writer.write(answer)
        writer.close()

    container = Container.model_validate({**APP, "ports": [{"name": "http", "containerPort": port}]})
    probe = Probe.model_validate({"httpGet": {"path": "/healthz", "port": "http" if named else port}})
    assert probe.http_get is not None
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        return await ask_http(container, probe.http_get, 2.0)


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 399 Odd\r\n\r\n", True),
        (b"HTTP/1.1 400 Bad\r\n\r\n", False),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False),
        (b"nonsense", False),
        (b"", False),
    ],
)
async def test_http_answers(answer: bytes, well: bool, free_port: Callable[[], int]) -> None:
    assert (await ask(answer, free_port)).well is well


async def test_a_port_by_its_name(free_port: Callable[[], int]) -> None:
    assert (await ask(b"HTTP/1.1 204 No\r\n\r\n", free_port, named=True)).well


async def test_tcp_opens_or_not(free_port: Callable[[], int]) -> None:
    port = free_port()
    container = Container.model_validate(APP)
    probe = Probe.model_validate({"tcpSocket": {"port": port}})
    assert probe.tcp_socket is not None
    assert "Errno 111" in (await ask_tcp(container, probe.tcp_socket, 2.0)).text
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
        assert (await ask_tcp(container, probe.tcp_socket, 2.0)).well


async def test_a_server_that_says_nothing_runs_out_of_time(free_port: Callable[[], int]) -> None:
    port = free_port()
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the probe hangs up
        writer.close()
        gone.set()

    probe = Probe.model_validate({"httpGet": {"port": port}})
    assert probe.http_get is not None
    async with await asyncio.start_server(silent, "127.0.0.1", port):
        answer = await ask_http(Container.model_validate(APP), probe.http_get, 0.1)
        assert "no answer in 0.1 s" in answer.text
        async with asyncio.timeout(5):
            await gone.wait()
