"""A serial port in the event loop: slow lines, bounds, closing."""

import os
import tty

import pytest

from mappers.sdk import NotConnected
from mappers.serialgpio.port import LineSettings, SerialPort
from tests.mappers.serialgpio.conftest import until

SETTINGS = LineSettings(115_200, 8, "even", 2)


class Ends:
    """Both ends of a pty whose other side reads only when it is told to."""

    def __init__(self) -> None:
        self.ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(self.ours, False)
        self.path = os.ttyname(theirs)
        self._open = [self.ours, theirs]

    def read(self) -> bytes:
        try:
            return os.read(self.ours, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())


class Heard:
    def __init__(self) -> None:
        self.chunks = b""
        self.error: NotConnected | None = None

    def received(self, chunk: bytes) -> None:
        self.chunks += chunk

    def lost(self, error: NotConnected) -> None:
        self.error = error


@pytest.fixture
def ends():
    ends = Ends()
    yield ends
    ends.close()


@pytest.fixture
async def port(ends):
    port = SerialPort(ends.path, SETTINGS, Heard())
    port.open()
    yield port
    port.close()


async def test_what_does_not_fit_at_once_follows_when_there_is_room(ends, port):
    sent = bytes(range(1, 251)) * 200
    port.write(sent[:30_000])
    port.write(sent[30_000:])
    got = bytearray()

    def came() -> bool:
        got.extend(ends.read())
        return len(got) >= len(sent)

    assert port._waiting
    await until(came)
    assert bytes(got) == sent
    assert not port._waiting


async def test_a_line_that_takes_nothing_fills_up_to_a_bound(port):
    for _ in range(60):
        port.write(bytes(1000))
    with pytest.raises(NotConnected, match="takes no more bytes"):
        port.write(bytes(60_000))
    assert len(port._waiting) <= 65536
    port.close()  # at once, though much waits
    with pytest.raises(NotConnected, match="is closed"):
        port.write(b"x")
    port.close()


async def test_what_comes_is_told(ends, port):
    os.write(ends.ours, b"hello")
    await until(lambda: port._listener.chunks == b"hello")


async def test_settings_that_no_port_has(ends):
    port = SerialPort(ends.path, LineSettings(0), Heard())
    port._settings = LineSettings(-1)
    with pytest.raises(NotConnected, match="cannot be opened"):
        port.open()


async def test_a_port_that_goes_while_much_waits_is_lost(port, ends):
    port.write(bytes(60_000))
    ends.close()
    await until(lambda: port._listener.error is not None)
