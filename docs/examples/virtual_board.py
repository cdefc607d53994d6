"""A Firmata board without hardware behind a serial port of its own."""

import asyncio
import sys
from pathlib import Path

from mappers.serialgpio.virtual_board import VirtualBoard
from mappers.serialgpio.virtual_line import BoardOnLine


async def main(path: str, seconds: int = 3600) -> None:
    """Be there for so long."""
    async with BoardOnLine(VirtualBoard(), Path(path)) as board:
        print(f"a board is at {path}", flush=True)  # noqa: T201  what the reader came for
        for second in range(seconds):
            board.wire(2, second % 2 == 0)
            board.board.volt(0, 100 * second % 1024)
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
