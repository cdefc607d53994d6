"""Runs in a guest: takes what comes to a port of its network card to the broker, which listens on loopback only.

test ── 127.0.0.1 of the host ── qemu's network ── PORT ── this ── 127.0.0.1:BROKER
"""

from __future__ import annotations

import asyncio
import sys


async def main(port: int, broker: int) -> None:
    """Relay for ever."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", broker)
        await asyncio.gather(_pumped(reader, to_writer), _pumped(to_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(met, "0.0.0.0", port) as server:
        await server.serve_forever()


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
