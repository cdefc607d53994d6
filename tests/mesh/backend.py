"""An endpoint that says who it is: `python backend.py NAME PORT`, on every address, TCP and UDP.

Each line or datagram is answered by `NAME CLIENT LINE`; the line `stream N` by N bytes, slowly enough to be long.
"""

import asyncio
import socket
import sys

NAME, PORT = sys.argv[1], int(sys.argv[2])
CHUNK = b"x" * 1000


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    client = writer.get_extra_info("peername")[0]
    try:
        while line := await reader.readline():
            if line.startswith(b"stream "):
                for _ in range(int(line.split()[1]) // len(CHUNK)):
                    writer.write(CHUNK)
                    await writer.drain()
                    await asyncio.sleep(0.002)
                break
            writer.write(f"{NAME} {client} ".encode() + line)
            await writer.drain()
    except OSError:
        pass
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, datagram, client):
        self.transport.sendto(f"{NAME} {client[0]} ".encode() + datagram, client)


async def main() -> None:
    loop = asyncio.get_running_loop()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        datagrams.bind((address, PORT))
        await loop.create_datagram_endpoint(Datagrams, sock=datagrams)
        await asyncio.start_server(serve, address, PORT, backlog=1024)
    await asyncio.Event().wait()


asyncio.run(main())
