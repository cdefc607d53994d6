"""Cable pulled, server restarted, half-open, slow, garbage, wrong CRC: an error in time, and the next read works."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappers.modbus.client import RegistersReply, new_client
from mappers.modbus.config import ModbusConnection, ModbusDevice, Transport
from mappers.modbus.driver import ModbusDriver
from mappers.modbus.point import ModbusPoint
from mappers.sdk import DeviceTimeout, MapperError, NotConnected, Point, ValueType

UNIT = ModbusDevice()
TIMEOUT_MS = 200
FRAMES = {Transport.TCP: "tcp", Transport.RTU_OVER_TCP: "rtu", Transport.RTU: "rtu", Transport.ASCII: "ascii"}


def words(*addresses):
    keys = {"table": "holding", "type": "uint16"}
    return [Point(f"r{n}", ValueType.INT, ModbusPoint.model_validate({**keys, "address": n})) for n in addresses]


def read_request(transport: Transport, frame: bytes) -> tuple[bytes, int, int]:
    """Header or unit, first address and count of a read."""
    if transport is Transport.TCP:
        return frame[:7], int.from_bytes(frame[8:10], "big"), int.from_bytes(frame[10:12], "big")
    body = bytes.fromhex(frame[1:-2].decode()) if transport is Transport.ASCII else frame
    return body[:1], int.from_bytes(body[2:4], "big"), int.from_bytes(body[4:6], "big")


class Wild:
    """The other end of a connection of any kind: answers each register with its address, after ``spoil``."""

    def __init__(self, transport: Transport, rtu_frame: Callable[[bytes], bytes]) -> None:
        self.spoil: Callable[[bytes], bytes | None] = lambda frame: frame
        self.delay_s = 0.0
        self._transport = transport
        self._rtu_frame = rtu_frame

    def answer(self, request: bytes) -> bytes | None:
        head, start, count = read_request(self._transport, request)
        pdu = bytes([3, 2 * count]) + b"".join(n.to_bytes(2, "big") for n in range(start, start + count))
        if self._transport is Transport.TCP:
            return self.spoil(head[:4] + (len(pdu) + 1).to_bytes(2, "big") + head[6:] + pdu)
        body = head + pdu
        if self._transport is Transport.ASCII:
            return self.spoil(f":{body.hex()}{-sum(body) & 0xFF:02x}\r\n".upper().encode())
        return self.spoil(self._rtu_frame(body))


@pytest.fixture
def timeout_ms() -> int:
    """Of the driver; a test that waits for an answer has a longer one."""
    return TIMEOUT_MS


@pytest.fixture(params=list(FRAMES), ids=str)
async def wild(request, rtu_frame, serial_pair, timeout_ms):
    """A driver and what it talks to."""
    transport: Transport = request.param
    peer = Wild(transport, rtu_frame)
    loop = asyncio.get_running_loop()
    server = None
    writers: list[asyncio.StreamWriter] = []
    if transport.is_serial:
        device_end, gateway = serial_pair
        device = device_end.open("r+b", buffering=0)

        def take() -> None:
            frame = peer.answer(device.read(600))
            if frame is not None:
                loop.call_later(peer.delay_s, device.write, frame)

        loop.add_reader(device, take)
        config: dict[str, object] = {"serialPort": str(gateway)}
    else:

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(OSError):
                while asked := await reader.read(600):
                    frame = peer.answer(asked)
                    if frame is not None:
                        await asyncio.sleep(peer.delay_s)
                        writer.write(frame)

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        config = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}
    config |= {"transport": transport, "timeoutMs": timeout_ms}
    driver = ModbusDriver(ModbusConnection.model_validate(config))
    await driver.connect()
    yield driver, peer
    await driver.close()
    if server is not None:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    else:
        loop.remove_reader(device)
        device.close()


def flipped(frame: bytes) -> bytes:
    """Another byte in the middle: the checksum does not fit any more."""
    middle = len(frame) // 2
    return frame[:middle] + bytes([frame[middle] ^ 1]) + frame[middle + 1 :]


NOISE = {
    "nothing": lambda frame: None,
    "half a frame": lambda frame: frame[: len(frame) // 2],
    "garbage": lambda frame: random.Random(7).randbytes(40),
    "much garbage": lambda frame: random.Random(7).randbytes(5000),
    "zeroes": lambda frame: bytes(64),
    "ones": lambda frame: b"\xff" * 64,
    "a colon and no digits": lambda frame: b":zzzz\r\n",
    "a frame of another unit": lambda frame: b"\x09" + frame[1:],
}


@pytest.mark.parametrize("noise", NOISE)
async def test_what_is_no_answer_is_a_time_out_and_the_next_answer_is_taken(wild, noise, caplog):
    driver, peer = wild
    plan = driver.plan(UNIT, words(*range(20)))
    good = {f"r{n}": n for n in range(20)}
    assert (await driver.read(plan)).values == good
    peer.spoil = NOISE[noise]
    began_s = time.monotonic()
    with pytest.raises(DeviceTimeout):
        await driver.read(plan)
    assert time.monotonic() - began_s < 5
    peer.spoil = lambda frame: frame
    assert (await driver.read(plan)).values == good
    assert [record.message for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


@pytest.mark.parametrize("wild", [Transport.RTU, Transport.RTU_OVER_TCP, Transport.ASCII], indirect=True)
async def test_a_wrong_checksum_is_no_answer(wild):
    driver, peer = wild
    plan = driver.plan(UNIT, words(1, 2, 3))
    peer.spoil = flipped
    with pytest.raises(DeviceTimeout):
        await driver.read(plan)


@pytest.mark.parametrize("wild", [Transport.RTU, Transport.RTU_OVER_TCP, Transport.ASCII], indirect=True)
async def test_a_noise_before_the_frame_of_a_line_that_turned_around_is_skipped(wild):
    driver, peer = wild
    peer.spoil = lambda frame: b"\x00\xff" + frame
    assert (await driver.read(driver.plan(UNIT, words(4, 5)))).values == {"r4": 4, "r5": 5}


@pytest.mark.parametrize("timeout_ms", [10_000])
async def test_a_slow_answer_is_taken_if_it_is_in_time(wild):
    driver, peer = wild
    loop = asyncio.get_running_loop()
    peer.delay_s = 0.1
    began_s = loop.time()
    assert (await driver.read(driver.plan(UNIT, words(*range(100))))).values == {f"r{n}": n for n in range(100)}
    assert loop.time() - began_s >= peer.delay_s


async def test_an_answer_to_another_function_is_none(scripted, connect):
    async def answer(unit, pdu):
        return b"\x04\x02\0\x07"

    driver = await connect((await scripted(answer)).port)
    with pytest.raises(DeviceTimeout, match=r"no answer from holding 1 of unit 1 at .*, but one to function 4"):
        await driver.read(driver.plan(UNIT, words(1)))


async def test_a_cancellation_is_not_lost_when_the_answer_is_just_there(wild):
    """Where it was, a mapper host could not be ended: wait_for of Python 3.11 returns the answer instead."""
    driver, _ = wild
    plan = driver.plan(UNIT, words(1))
    (wire,) = driver._pool._wires
    for _ in range(3):
        before = wire._client.ctx.response_future
        reading = asyncio.create_task(driver.read(plan))
        async with asyncio.timeout(5):
            while (answer := wire._client.ctx.response_future) is before:  # noqa: ASYNC110  pymodbus tells nobody
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        answer.add_done_callback(lambda _, reading=reading: reading.cancel())
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert (await driver.read(plan)).values == {"r1": 1}


async def test_a_server_that_is_restarted_is_read_again(serve, connect, unused_port):
    peer = serve("--tcp", unused_port)
    driver = await connect(unused_port, timeoutMs=500)
    plan = driver.plan(UNIT, words(6))
    assert (await driver.read(plan)).values == {"r6": 6}
    peer.process.kill()
    peer.process.wait(10)
    with pytest.raises(NotConnected):
        await driver.read(plan)
    with pytest.raises(NotConnected, match="Connection refused"):
        await driver.connect()
    serve("--tcp", unused_port)
    await driver.connect()
    assert (await driver.read(plan)).values == {"r6": 6}


async def test_a_pulled_cable_of_a_serial_line_is_not_connected_and_the_port_is_opened_again(serve, tmp_path):
    ends = tmp_path / "device", tmp_path / "gateway"

    def plug() -> subprocess.Popen[bytes]:
        sides = [f"pty,raw,echo=0,link={end}" for end in ends]
        process = subprocess.Popen(["socat", *sides], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not all(end.exists() for end in ends):
            assert time.monotonic() < deadline
        return process

    cable = plug()
    serve("--rtu", ends[0])
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(ends[1]), "timeoutMs": 300}))
    await driver.connect()
    plan = driver.plan(UNIT, words(6))
    assert (await driver.read(plan)).values == {"r6": 6}
    cable.terminate()
    cable.wait(10)
    with pytest.raises(MapperError):
        await driver.read(plan)
    with pytest.raises(NotConnected):
        await driver.connect()
    cable = plug()
    serve("--rtu", ends[0])
    await driver.connect()
    assert (await driver.read(plan)).values == {"r6": 6}
    await driver.close()
    cable.terminate()
    cable.wait(10)


@pytest.mark.parametrize("wild", [Transport.TCP, Transport.RTU_OVER_TCP], indirect=True)
async def test_a_half_open_connection_is_given_up_after_a_few_time_outs(wild):
    driver, peer = wild
    plan = driver.plan(UNIT, words(1))
    peer.spoil = lambda frame: None
    with pytest.raises(NotConnected):
        await read_on(driver, plan, 8)
    peer.spoil = lambda frame: frame
    await driver.connect()
    assert (await driver.read(plan)).values == {"r1": 1}


async def read_on(driver, plan, times):
    for _ in range(times):
        with contextlib.suppress(DeviceTimeout):
            await driver.read(plan)


def chunks(given: bytes) -> Iterator[bytes]:
    for start in range(0, len(given), 7):
        yield given[start : start + 7]


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.RTU_OVER_TCP, Transport.RTU, Transport.ASCII])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noise=st.lists(
        st.binary(max_size=80) | st.sampled_from([b":", b"\r\n", b"\x01\x03", b"\x01\x2b\x0e", b"\x11\x17", b":0103"]),
        max_size=8,
    ).map(b"".join)
)
def test_no_bytes_raise_in_the_event_loop(transport, noise):
    async def feed() -> None:
        place = {"serialPort": "/dev/x"} if transport.is_serial else {"host": "a"}
        config = ModbusConnection.model_validate({"transport": transport, **place})
        client = new_client(config, lambda connected: None)
        for request_of in (1, 17):
            client.ctx.request_dev_id, client.ctx.request_transaction_id = request_of, 1
            for part in chunks(noise):
                client.ctx.data_received(part)
        reply = client.ctx.last_pdu
        assert reply is None or isinstance(getattr(reply, "raw", b""), bytes) or isinstance(reply, RegistersReply)

    asyncio.run(feed())
