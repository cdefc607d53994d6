"""TLS before libmodbus, RTU over TCP through socat, ASCII with the frames of the specification, several connections."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mappers.modbus.config import ModbusConnection, ModbusDevice
from mappers.modbus.driver import ModbusDriver
from mappers.modbus.point import ModbusPoint
from mappers.modbus.wire import Wire
from mappers.sdk import DeviceTimeout, NotConnected, Point, ValueType

UNIT = ModbusDevice()
GOLDEN = Path(__file__).parents[2] / "golden" / "modbus" / "ascii-frames.txt"


def words(*addresses, table="holding"):
    keys = {"table": table, "type": "uint16"}
    return [Point(f"r{n}", ValueType.INT, ModbusPoint.model_validate({**keys, "address": n})) for n in addresses]


# --- TLS ---


class Keys:
    """A certificate authority of a test, and what it signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._signed(self._name, self._key, ca=True))

    def sign(self, name: str) -> tuple[Path, Path]:
        """Certificate and key files; a name that is an address gets that address."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        private.chmod(0o600)
        return certificate, private

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool = False) -> bytes:
        title = str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        try:
            other: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(title))
        except ValueError:
            other = x509.DNSName(title)
        now = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([other]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path) -> Keys:
    return Keys(tmp_path, "authority")


@pytest.fixture
def tls_port(serve, stunnel, authority):
    """libmodbus behind stunnel, whose certificate is for plc.example and which asks for one of the authority."""
    certificate, key = authority.sign("plc.example")
    return stunnel(
        serve("--tcp", 0).port, cert=certificate, key=key, CAfile=authority.ca, verifyChain="yes", requireCert="yes"
    )


async def test_tls_with_both_certificates_reads_and_writes(connect, tls_port, authority):
    certificate, key = authority.sign("gateway")
    driver = await connect(
        tls_port, transport="tls", ca=str(authority.ca), serverName="plc.example",
        certificate=str(certificate), privateKey=str(key), connections=2,
    )  # fmt: skip
    await driver.write(UNIT, words(7)[0], 70)
    readings = await driver.read(driver.plan(UNIT, words(*range(1000))))
    assert readings.values == {f"r{n}": 70 if n == 7 else n for n in range(1000)}


async def test_a_host_that_is_not_who_it_should_be_is_refused_by_name(connect, tls_port, authority, tmp_path):
    tls = {"transport": "tls", "timeoutMs": 3000}
    with pytest.raises(NotConnected, match=r"not trusted: .*(self-signed|local issuer)"):
        await connect(tls_port, **tls, ca=str(Keys(tmp_path, "stranger").ca), serverName="plc.example")
    with pytest.raises(
        NotConnected, match=r"not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'"
    ):
        await connect(tls_port, **tls, ca=str(authority.ca))


async def test_a_client_without_a_certificate_is_sent_away_by_a_host_that_asks_for_one(connect, tls_port, authority):
    with pytest.raises(NotConnected):
        await read_once(await connect(tls_port, transport="tls", ca=str(authority.ca), serverName="plc.example"))


async def read_once(driver):
    return await driver.read(driver.plan(UNIT, words(1)))  # TLS 1.3 tells only after the handshake


async def test_tls_to_a_host_that_speaks_none_is_said(serve, connect, authority):
    with pytest.raises(NotConnected, match=r"no TLS with it|no answer in 300 ms|reset by peer|unexpected"):
        await connect(serve("--tcp", 0).port, transport="tls", ca=str(authority.ca), timeoutMs=300)


@pytest.mark.parametrize("key", ["ca", "certificate"])
async def test_a_file_that_is_not_there_is_named(connect, unused_port, key, tmp_path):
    missing = str(tmp_path / "none.pem")
    keys = {"certificate": missing, "privateKey": missing} if key == "certificate" else {"ca": missing}
    with pytest.raises(NotConnected, match=rf"{key} \S*none.pem.*No such file or directory"):
        await connect(unused_port, transport="tls", **keys)


def test_the_port_of_tls_is_its_own():
    assert ModbusConnection.model_validate({"transport": "tls", "host": "a"}).port == 802
    assert ModbusConnection.model_validate({"transport": "tls", "host": "a", "port": 1}).port == 1


# --- RTU over TCP ---


async def test_rtu_frames_over_tcp(serve, connect, rtu_gateway):
    line, port = rtu_gateway
    serve("--rtu", line, "--units", 1, 32)
    driver = await connect(port, transport="rtuOverTcp", timeoutMs=3000)
    for unit in (1, 17, 32):
        device = ModbusDevice.model_validate({"unit": unit})
        readings = await driver.read(driver.plan(device, words(*range(300))))
        assert readings.values == {f"r{n}": n for n in range(300)}
    await driver.write(UNIT, words(5)[0], 55)
    assert (await driver.read(driver.plan(UNIT, words(5)))).values == {"r5": 55}


async def test_thirty_two_units_on_one_line_of_which_one_is_dead(serve, serial_pair):
    device, gateway = serial_pair
    serve("--rtu", device, "--units", 1, 32, "--dead", 7)
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(gateway), "timeoutMs": 200}))
    await driver.connect()
    silent = []
    for unit in range(1, 33):
        plan = driver.plan(ModbusDevice.model_validate({"unit": unit}), words(unit, unit + 1))
        try:
            assert (await driver.read(plan)).values == {f"r{unit}": unit, f"r{unit + 1}": unit + 1}
        except DeviceTimeout:
            silent.append(unit)
    assert silent == [7]
    await driver.close()


async def test_the_line_is_silent_for_the_pause_between_answer_and_request(serial_pair, rtu_frame):
    device_end, gateway = serial_pair
    loop = asyncio.get_running_loop()
    came_s: list[float] = []
    with device_end.open("r+b", buffering=0) as device:

        def answer() -> None:
            device.read(256)
            came_s.append(loop.time())
            device.write(rtu_frame(b"\x01\x03\x02\x00\x07"))

        loop.add_reader(device, answer)
        config = {"serialPort": str(gateway), "timeoutMs": 2000, "pauseMs": 60}
        driver = ModbusDriver(ModbusConnection.model_validate(config))
        await driver.connect()
        plan = driver.plan(UNIT, words(1))
        for _ in range(3):
            assert (await driver.read(plan)).values == {"r1": 7}
        loop.remove_reader(device)
        await driver.close()
    assert all(later - earlier >= 0.06 for earlier, later in itertools.pairwise(came_s))


def test_the_pause_of_a_line_follows_its_speed():
    def pause(**keys):
        return ModbusConnection.model_validate({"serialPort": "/dev/x", **keys}).pause_s

    assert pause(baudRate=9600) == pytest.approx(0.00401, abs=1e-5)
    assert pause(baudRate=115200) == 0.00175
    assert pause(transport="ascii") == 0
    assert pause(pauseMs=0) == 0
    assert ModbusConnection.model_validate({"host": "a"}).pause_s == 0


# --- ASCII, against the frames that the specification shows ---


def frames() -> dict[str, tuple[bytes, bytes]]:
    lines = [line for line in GOLDEN.read_text(encoding="ascii").splitlines() if line and not line.startswith("#")]
    return {
        what: (f"{request}\r\n".encode(), f"{answer}\r\n".encode())
        for what, request, answer in zip(lines[::3], lines[1::3], lines[2::3], strict=True)
    }


FRAMES = frames()
SEND = {
    "read coils 20 to 38": lambda c: c.read_coils(19, count=19, device_id=17),
    "read discrete inputs 197 to 218": lambda c: c.read_discrete_inputs(196, count=22, device_id=17),
    "read holding registers 108 to 110": lambda c: c.read_holding_registers(107, count=3, device_id=17),
    "read input register 9": lambda c: c.read_input_registers(8, count=1, device_id=17),
    "write coil 173": lambda c: c.write_coil(172, True, device_id=17),
    "write register 2": lambda c: c.write_register(1, 3, device_id=17),
    "write coils 20 to 29": lambda c: c.write_coils(19, [bit == "1" for bit in "1011001110"], device_id=17),
    "write registers 2 and 3": lambda c: c.write_registers(1, [10, 0x102], device_id=17),
    "mask write register 5": lambda c: c.mask_write_register(address=4, and_mask=0xF2, or_mask=0x25, device_id=17),
    "read registers 4 to 9 and write 15 to 17": lambda c: c.readwrite_registers(
        read_address=3, read_count=6, write_address=14, values=[255] * 3, device_id=17
    ),
    "read identification": lambda c: c.read_device_information(read_code=1, object_id=0, device_id=17),
    "refuse coil 1185": lambda c: c.read_coils(0x04A1, count=1, device_id=17),
}
SEEN = {
    "read coils 20 to 38": lambda r: (
        [int(bit) for bit in r.bits[:19]] == [1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1]
    ),
    "read holding registers 108 to 110": lambda r: r.raw.hex() == "022b00000064",
    "read input register 9": lambda r: r.raw.hex() == "000a",
    "read registers 4 to 9 and write 15 to 17": lambda r: r.raw.hex() == "00fe0acd00010003000d00ff",
    "read identification": lambda r: r.information == {0: b"Company identification", 1: b"ProductCodeXX", 2: b"V2.11"},
    "refuse coil 1185": lambda r: r.isError() and r.exception_code == 2,
}


@pytest.fixture
async def ascii_line(serial_pair):
    """A wire of ASCII frames, and the other end, which answers what answer(request) gives."""
    device_end, gateway = serial_pair
    loop = asyncio.get_running_loop()
    config = {"transport": "ascii", "serialPort": str(gateway), "dataBits": 8, "timeoutMs": 300}
    wire = Wire(ModbusConnection.model_validate(config))
    asked: list[bytes] = []
    with device_end.open("r+b", buffering=0) as device:

        def serve(answer: Callable[[bytes], bytes]) -> list[bytes]:
            def take() -> None:
                asked.append(device.read(600))
                device.write(answer(asked[-1]))

            loop.add_reader(device, take)
            return asked

        await wire.open()
        yield wire, serve
        wire.close()
        loop.remove_reader(device)


@pytest.mark.parametrize("what", FRAMES)
async def test_ascii_frames_are_those_of_the_specification(ascii_line, what):
    wire, serve = ascii_line
    request, answer = FRAMES[what]
    asked = serve(lambda _: answer)
    reply = await wire.ask(SEND[what], what)
    assert b"".join(asked) == request
    assert SEEN.get(what, lambda r: not r.isError())(reply)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame[:-4] + b"00\r\n",  # another LRC
        lambda frame: frame[:-2],  # no end
        lambda frame: b":zz" + frame[3:],  # no digits where the unit is
        lambda frame: b":11030\r\n",  # half a byte
        lambda frame: b":1103\r\n",
        lambda frame: bytes(range(256)),
        lambda frame: b":" * 700,
    ],
)
async def test_what_is_no_ascii_frame_is_no_answer_and_the_line_goes_on(ascii_line, spoil):
    wire, serve = ascii_line
    what = "read holding registers 108 to 110"
    spoilt = True
    serve(lambda _: spoil(FRAMES[what][1]) if spoilt else FRAMES[what][1])
    with pytest.raises(DeviceTimeout):
        await wire.ask(SEND[what], what)
    spoilt = False
    assert (await wire.ask(SEND[what], what)).raw.hex() == "022b00000064"


async def test_noise_before_an_ascii_frame_is_skipped(ascii_line):
    wire, serve = ascii_line
    what = "read input register 9"
    serve(lambda _: b"\xff\x00noise" + FRAMES[what][1])
    assert (await wire.ask(SEND[what], what)).raw.hex() == "000a"


# --- several connections ---


class Counting:
    """Answers holding registers with their addresses, a while later; notes how many requests were under way at once."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    async def __call__(self, unit: int, pdu: bytes) -> bytes:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.02)
        self.under_way -= 1
        start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        return bytes([3, 2 * count]) + b"".join(n.to_bytes(2, "big") for n in range(start, start + count))


async def test_blocks_are_read_over_as_many_connections_as_are_wanted(scripted, connect):
    host = Counting()
    driver = await connect((await scripted(host)).port, connections=4)
    readings = await driver.read(driver.plan(UNIT, words(*range(1000))))
    assert readings.values == {f"r{n}": n for n in range(1000)}
    assert host.most == 4


@pytest.fixture
async def choosy():
    """A host that takes only so many connections and ends those beyond, or the oldest."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(most: int, *, oldest: bool = False) -> int:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            if len(writers) > most:
                (writers.pop(0) if oldest else writers.pop()).close()
            try:
                while True:
                    header = await reader.readexactly(7)
                    pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
                    reply = await Counting()(header[6], pdu)
                    writer.write(header[:4] + (len(reply) + 1).to_bytes(2, "big") + header[6:] + reply)
            except (OSError, asyncio.IncompleteReadError):
                writer.close()

        servers.append(await asyncio.start_server(talk, "127.0.0.1", 0))
        return servers[-1].sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("oldest", [False, True])
async def test_a_host_that_takes_fewer_connections_is_served_with_those(choosy, connect, oldest):
    driver = await connect(await choosy(2, oldest=oldest), connections=5, timeoutMs=2000)
    plan = driver.plan(UNIT, words(*range(1000)))
    for _ in range(3):
        assert (await driver.read(plan)).values == {f"r{n}": n for n in range(1000)}


async def test_a_host_that_refuses_further_connections_is_served_with_the_first(connect):
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        server.close()
        with contextlib.suppress(asyncio.IncompleteReadError):
            while header := await reader.readexactly(7):
                pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
                reply = await Counting()(header[6], pdu)
                writer.write(header[:4] + (len(reply) + 1).to_bytes(2, "big") + header[6:] + reply)

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1)
    driver = await connect(server.sockets[0].getsockname()[1], connections=16, timeoutMs=2000)
    assert (await driver.read(driver.plan(UNIT, words(*range(500))))).values == {f"r{n}": n for n in range(500)}
    for writer in writers:
        writer.close()
        await writer.wait_closed()


async def test_a_silent_unit_is_one_time_out_however_many_connections(scripted, connect):
    async def answer(unit: int, pdu: bytes) -> bytes | None:
        return None

    driver = await connect((await scripted(answer)).port, connections=3, timeoutMs=50, maxBlock=1)
    with pytest.raises(DeviceTimeout, match="no answer from holding"):
        await driver.read(driver.plan(UNIT, words(1, 3, 5, 7)))


async def test_all_connections_lost_is_not_connected(scripted, connect):
    async def answer(unit: int, pdu: bytes) -> bytes | None:
        raise ConnectionResetError

    driver = await connect((await scripted(answer)).port, connections=3)
    with pytest.raises(NotConnected):
        await driver.read(driver.plan(UNIT, words(*range(1000))))


async def test_a_turn_is_given_between_the_requests_of_a_read(serve, connect):
    driver = await connect(serve("--tcp", 0).port)
    written: list[int] = []

    async def turn() -> None:
        written.append(len(written) + 1)
        await driver.write(UNIT, words(999)[0], written[-1])

    give: Callable[[], Awaitable[None]] = turn
    driver.give_way(give)
    plan = driver.plan(UNIT, words(*range(1000)))
    assert (await driver.read(plan)).values["r999"] == 7
    assert len(written) == 7, "between eight requests"
