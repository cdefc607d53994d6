"""A bare MQTT 5 client on a socket: it shares no code with the link, and sees every reason code."""

import asyncio
import contextlib
import ssl
import tempfile

DENIED = 0x87


class Refused(Exception):
    """No connection: the reason code of the CONNACK, or None if TLS or TCP ended it."""

    def __init__(self, code, why=""):
        super().__init__(f"{code} {why}")
        self.code = code


def tls(ca, pair=None, **more):
    """A client's context; ``pair`` is certificate and key as one PEM text."""
    context = ssl.create_default_context(cadata=ca)
    if pair is not None:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(pair)
            file.flush()
            context.load_cert_chain(file.name)
    for name, value in more.items():
        setattr(context, name, value)
    return context


class Client:
    """One connection. QoS 1 throughout; messages that come are kept."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.messages = []
        self.ended = None
        self._mid = 0
        self._answers = {}
        self._task = None

    @classmethod
    async def connect(cls, port, client_id="", *, context=None, login=None, host="127.0.0.1", will=None):
        try:
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname="localhost" if context else None
            )
            flags, payload = 0x02, sized(client_id.encode())
            if login:
                flags |= 0xC0
                payload += sized(login[0].encode()) + sized(login[1].encode())
            body = sized(b"MQTT") + bytes([5, flags]) + b"\x00\x3c\x00" + payload
            writer.write(packet(0x10, body))
            async with asyncio.timeout(5):
                kind, answer = await read_packet(reader)
        except (OSError, EOFError, TimeoutError) as error:
            raise Refused(None, repr(error)) from None
        if kind != 0x20 or answer[1]:
            writer.close()
            raise Refused(answer[1])
        client = cls(reader, writer)
        client._task = asyncio.create_task(client._read())
        return client

    async def _read(self):
        try:
            while True:
                kind, body = await read_packet(self.reader)
                if kind & 0xF0 == 0x30:
                    size = int.from_bytes(body[:2], "big")
                    self.messages.append(body[2 : 2 + size].decode())
                    if kind & 0x06:
                        self.writer.write(packet(0x40, body[2 + size : 4 + size]))
                elif kind in (0x40, 0x90):
                    mid = int.from_bytes(body[:2], "big")
                    reason = body[-1] if kind == 0x90 else (body[2] if len(body) > 2 else 0)
                    self._answers.pop(mid).set_result(reason)
                elif kind == 0xE0:
                    self.ended = body[0] if body else 0
        except (OSError, EOFError):
            if self.ended is None:
                self.ended = -1

    async def publish(self, topic, payload=b"x"):
        """The reason code of the PUBACK; below 0x80 it was taken."""
        mid, answer = self._next()
        self.writer.write(packet(0x32, sized(topic.encode()) + mid + b"\x00" + payload))
        async with asyncio.timeout(5):
            return await answer

    async def subscribe(self, topic_filter):
        mid, answer = self._next()
        self.writer.write(packet(0x82, mid + b"\x00" + sized(topic_filter.encode()) + b"\x01"))
        async with asyncio.timeout(5):
            return await answer

    async def until_ended(self, timeout_s):
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._task)
        return self.ended

    def _next(self):
        self._mid += 1
        self._answers[self._mid] = asyncio.get_running_loop().create_future()
        return self._mid.to_bytes(2, "big"), self._answers[self._mid]

    async def close(self):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.close()


def sized(raw):
    return len(raw).to_bytes(2, "big") + raw


def packet(kind, body):
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return bytes([kind]) + length + body


async def read_packet(reader):
    kind = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return kind, await reader.readexactly(size)
