"""Whatever answers at podman's socket, the pod says what is wrong, and the hub lives on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgehub.pods.podman.api import PodmanApi, Refused
from edgehub.pods.podman.conf import PodmanPlace
from edgehub.pods.podman.http import MAX_BODY, Request, ServiceAway, UnixHttp
from edgehub.pods.podman.service import PodmanChoice, PodmanService
from edgehub.pods.spec import CannotStart
from twin.clock import SystemClock


@asynccontextmanager
async def answering(socket: Path, answer: bytes, *, hangs: bool = False) -> AsyncIterator[None]:
    """A server that says the same whatever it is asked."""
    asked = asyncio.Event()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hangs:
            await asked.wait()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(on_connection, socket):
        yield
        asked.set()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "s"


def service_at(socket: Path) -> PodmanService:
    place = PodmanPlace(socket.parent / "podman", socket.parent / "run")
    return PodmanService(place, PodmanChoice(socket=str(socket)), SystemClock(), random.Random(1))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "broke off GET /v4.0.0/libpod/_ping"),
        (b"garbage\r\n\r\n", "broke off GET .*illegal status line"),
        (b"\x00" * 100_000, "broke off GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "broke off GET .*closed connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broke off GET"),
        (http(b"x" * (MAX_BODY + 1)), f"with more than {MAX_BODY} bytes"),
        (http(b'{"message": "it is on fire"}', "500 No"), "^it is on fire"),
        (http(b"<html>nginx</html>", "404 No"), "^<html>nginx</html>"),
        (http(b"OK", "200 OK\r\nLibpod-API-Version: 3.4.4"), "podman is 3.4.4, and 4.0 or newer is needed"),
        (http(b"OK", "200 OK\r\nLibpod-API-Version: nonsense"), "podman is nonsense, and 4.0"),
        (http(b"OK"), "podman is of no version, and 4.0"),
    ],
)
async def test_what_is_no_answer_is_said(socket: Path, answer: bytes, said: str) -> None:
    async with answering(socket, answer):
        with pytest.raises(CannotStart, match=said) as caught:
            await service_at(socket).ready()
    assert caught.value.reason == "CreateContainerError"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "answer is not understood"),
        (b'{"Id": 5, "State": {}}', "answer is not understood: Id: Input should be a valid string"),
    ],
)
async def test_an_answer_that_is_not_understood_names_where(socket: Path, body: bytes, said: str) -> None:
    async with answering(socket, http(body)):
        with pytest.raises(ServiceAway, match=said):
            await PodmanApi(UnixHttp(socket)).inspect("app")


async def test_a_socket_that_is_not_there_is_said(socket: Path) -> None:
    with pytest.raises(CannotStart, match=f"the service at {socket} cannot be reached: No such file or directory"):
        await service_at(socket).ready()


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_asked(socket: Path) -> None:
    async with answering(socket, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", hangs=True):
        with pytest.raises(TimeoutError):
            await UnixHttp(socket).ask(Request("GET", "/"), 0.1)


async def test_a_pull_that_fails_says_why(socket: Path) -> None:
    body = b'{"stream": "Trying to pull"}\n{"error": "manifest unknown"}\n'
    async with answering(socket, http(body)):
        with pytest.raises(Refused, match=r"^manifest unknown$"):
            await PodmanApi(UnixHttp(socket)).pull("a/b")
    async with answering(socket, http(b"not json\n")):
        with pytest.raises(ServiceAway, match="answer is not understood"):
            await PodmanApi(UnixHttp(socket)).pull("a/b")


@pytest.mark.parametrize("found", [True, False])
async def test_what_is_not_there_is_no_error_where_that_is_asked(socket: Path, found: bool) -> None:
    async with answering(socket, http(b"", "204 No Content") if found else http(b"{}", "404 Not Found")):
        assert await PodmanApi(UnixHttp(socket)).has_image("a/b:1") is found


def test_a_service_of_the_hub_needs_podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    place = PodmanPlace(tmp_path, tmp_path)
    with pytest.raises(CannotStart, match="needs the program podman, which is not installed") as caught:
        PodmanService(place, PodmanChoice(), SystemClock(), random.Random(1)).program()
    assert "apt install podman runc netavark" in caught.value.remedy


def test_commands_reach_what_is_served(tmp_path: Path) -> None:
    words: Callable[[PodmanChoice], tuple[str, ...]] = lambda choice: PodmanService(  # noqa: E731
        PodmanPlace(tmp_path, tmp_path), choice, SystemClock(), random.Random(1)
    ).command("exec")
    assert words(PodmanChoice(socket="/run/p.sock")) == ("podman", "--remote", "--url", "unix:///run/p.sock", "exec")
    assert words(PodmanChoice()) == (
        "env",
        f"CONTAINERS_CONF={tmp_path}/containers.conf",
        f"CONTAINERS_STORAGE_CONF={tmp_path}/storage.conf",
        "podman",
        "exec",
    )
