"""A pump that answers lines of text over TCP, for docs/mapper-tutorial.md: `get pump1.speed`, `set pump1.valve 40`.

pump.py PORT
"""

from __future__ import annotations

import asyncio
import sys

values = {"pump1.speed": 1450.0, "pump1.valve": 40.0}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection, a line for each line."""
    async for line in reader:
        verb, place, value = (*line.decode(errors="replace").split(), "", "", "")[:3]
        writer.write(f"{answer(verb, place, value)}\n".encode())
    writer.close()


def answer(verb: str, place: str, value: str) -> object:
    """Give or take one value."""
    if place not in values:
        return "no such place"
    if verb == "set":
        values[place] = float(value)
        return "ok"
    return values[place]


async def main(port: int) -> None:
    """Answer until Ctrl-C."""
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
