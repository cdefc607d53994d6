"""Our virtual board as a Firmata client sees it that shares no code with ours."""

import asyncio
import sys
from pathlib import Path

import pytest

from mappers.serialgpio.firmata import Mode
from tests.mappers.serialgpio.conftest import until

CLIENT = Path(__file__).parents[2] / "peers" / "firmata_client.py"


class Client:
    """pyfirmata2 in a process of its own, for it has threads and busy waits."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[str] = []

    async def listen(self) -> None:
        while line := await self._process.stdout.readline():
            self.said.append(line.decode().strip())

    async def tell(self, text: str) -> None:
        done = self.said.count("done")
        self._process.stdin.write(f"{text}\n".encode())
        await until(lambda: self.said.count("done") > done)


@pytest.fixture
async def client(board):
    process = await asyncio.create_subprocess_exec(
        sys.executable, CLIENT, board.line.path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    client = Client(process)
    listening = asyncio.create_task(client.listen())
    try:
        await until(lambda: bool(client.said), 30)
        yield client
        process.stdin.write(b"end\n")
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await listening


async def test_pyfirmata2_drives_the_virtual_board(board, client):
    assert client.said[0] == "ready StandardFirmata.ino (2, 5) 14 6"
    await until(lambda: "d2 True" in client.said)  # pulled up
    board.wire(2, False)
    await until(lambda: client.said[-1:] == ["d2 False"] or "d2 False" in client.said)
    board.board.volt(0, 1023)
    await until(lambda: "a0 1.0" in client.said)
    await client.tell("pin 13 1")
    await client.tell("pwm 9 0.5")
    await until(lambda: board.board.now[9].state == 128)
    assert (board.board.now[13].state, board.board.now[9].mode) == (1, Mode.PWM)
    assert board.board.sampling_ms == 20
