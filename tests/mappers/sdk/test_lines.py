"""One line a request: answers, time-outs, hang-ups, cancelled exchanges, over real sockets."""

import asyncio

import pytest

from mappers.sdk import LineClient, NotConnected, WriteRefused


class Peer:
    """Says each line again; ``late`` and ``half`` are what they are called."""

    def __init__(self) -> None:
        self.connections = 0
        self.asked_late = asyncio.Event()
        self.go_on = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            async for line in reader:
                if line == b"late\n":
                    self.asked_late.set()
                    await self.go_on.wait()
                if line == b"half\n":
                    writer.write(b"no end")
                    break
                writer.write(b"\xff\xfe\n" if line == b"bytes\n" else b"x" * 70_000 if line == b"long\n" else line)
        finally:
            writer.close()


@pytest.fixture
async def peer():
    return Peer()


@pytest.fixture
async def client(peer):
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    made = LineClient("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=0.2)
    yield made
    peer.go_on.set()
    await made.close()
    server.close()
    await server.wait_closed()


async def test_each_request_gets_its_answer(client):
    await client.open()
    assert [await client.ask(f"get {number}") for number in range(3)] == ["get 0", "get 1", "get 2"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [("late", "took too long"), ("half", "hung up"), ("bytes", "decode"), ("long", "limit")],
)
async def test_an_exchange_that_fails_ends_the_connection(client, peer, request_, said):
    await client.open()
    with pytest.raises(NotConnected, match=said):
        await client.ask(request_)
    with pytest.raises(NotConnected, match="is closed"):
        await client.ask("next")
    await client.open()
    assert await client.ask("next") == "next"
    assert peer.connections == 2


async def test_the_late_answer_of_a_cancelled_request_is_not_taken_for_the_next_one(client, peer):
    await client.open()
    asking = asyncio.create_task(client.ask("late"))
    await peer.asked_late.wait()
    asking.cancel()
    await asyncio.wait([asking])
    peer.go_on.set()
    with pytest.raises(NotConnected, match="is closed"):
        await client.ask("next")
    await client.open()
    assert await client.ask("next") == "next"


async def test_nobody_there_is_said(client):
    await client.open()
    await client.close()
    await client.close()
    client._port = 1  # nobody listens there
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1:1 does not answer"):
        await client.open()


@pytest.mark.parametrize(
    ("request_", "said"), [("set a 1\nset b 2", "more than one line"), ("set a \ud800", "half a character")]
)
async def test_what_is_no_line_is_refused_and_the_connection_stands(client, peer, request_, said):
    await client.open()
    with pytest.raises(WriteRefused, match=said):
        await client.ask(request_)
    assert await client.ask("get a") == "get a"
    assert peer.connections == 1
