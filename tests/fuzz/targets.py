"""What is fuzzed: every place where bytes or text of others come in, each as a function of bytes.

A target returns, or raises nothing: it catches exactly the errors that the function under it promises. Where there is
a way back, it is tried too, so that a fuzzer also finds a wrong value and not only a crash.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from bleak.backends.scanner import AdvertisementData
from paho.mqtt.client import topic_matches_sub
from pydantic import BaseModel, ValidationError
from pymodbus.pdu import DecodePDU

from cloudsync.identity.ca import Authority
from edgehub.checking import checked
from edgehub.kubeapi.answers import Following, listed
from edgehub.kubeapi.asked import List, Watch, asked
from edgehub.kubeapi.status import ApiError
from edgehub.kubeapi.view import View
from edgehub.settings import InvalidSettings, load_settings
from mappers.ble import bthome
from mappers.ble import encoding as ble
from mappers.ble.gatt import Reader
from mappers.ble.heard import Heard
from mappers.ble.point import BlePoint
from mappers.ble.rawtype import RawType as BleType
from mappers.ble.uuids import full_uuid
from mappers.modbus.codec import Block, Field, NotEncodable
from mappers.modbus.codec import encode as encode_value
from mappers.modbus.encoding import REGISTERS, Encoding, Order, RawType
from mappers.modbus.framers import FRAMERS
from mappers.opcua.nodeid import checked_node_id, steps
from mappers.opcua.notification import NotADataChange, read_publish
from mappers.opcua.values import read_variant
from mappers.sdk import Point, Readings
from mappers.sdk.registry import Registry
from mappers.serialgpio import field
from mappers.serialgpio.firmata_decoder import Decoder as FirmataDecoder
from mappers.serialgpio.firmata_decoder import Side
from mappers.serialgpio.framing_config import FramingConfig
from mappers.serialgpio.modules import Module, module_exchange
from mappers.serialgpio.point import SerialgpioPoint
from tests.fuzz import dns, http, mesh, peers
from twin.certificates import is_signed_renewal, life, new_key, request
from twin.dialects import aws_request, kubeedge_device, kubeedge_json
from twin.errors import EdgetwinError
from twin.history import Reading
from twin.history_pack import pack, unpack
from twin.manifest.problems import InvalidManifest
from twin.manifest.yaml import Source
from twin.model import ValueType
from twin.query.parse import parse
from twin.query.sqlite import compile_plan
from twin.wire import api, sync, topics
from twin.wire.codec import decode, decode_report, encode
from twin.wire.enrolment import JoinToken
from twin.wire.messages import Ack, Delta

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


@dataclass(frozen=True, slots=True)
class Target:
    """``seeds`` are inputs to begin with."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def _files(folder: Path, pattern: str) -> Callable[[], Iterator[bytes]]:
    return lambda: (path.read_bytes() for path in sorted(folder.rglob(pattern)))


def _texts(*texts: str | bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: (text if isinstance(text, bytes) else text.encode() for text in texts)


# -- what clients and mappers send -------------------------------------------------------------------------------------


def wire(given: bytes) -> None:
    for model in (Ack, Delta, api.GetRequest, api.SetRequest, api.WatchRequest, api.QueryRequest, api.HistoryRequest):
        with contextlib.suppress(EdgetwinError):
            message = decode(model, given, what="fuzzed")
            assert decode(model, encode(message), what="again") == message
    with contextlib.suppress(EdgetwinError):
        decode_report(given, what="fuzzed")


def sync_messages(given: bytes) -> None:
    with contextlib.suppress(EdgetwinError):
        message = sync.decode(given)
        assert sync.encode_json(sync.decode(sync.encode(message))) == sync.encode_json(message)


def topic(given: bytes) -> None:
    """Each reader gets what the broker would give it: topics that match its filters."""
    text = given.decode(errors="replace")
    for filters, read in TOPIC_READERS:
        if any(topic_matches_sub(one, text) for one in filters):
            with contextlib.suppress(EdgetwinError):
                read(text)


TOPIC_READERS: tuple[tuple[Sequence[str], Callable[[str], object]], ...] = (
    (["#"], topics.parse_report),
    (["#"], topics.parse_delta),
    (["#"], topics.parse_request),
    (["#"], topics.is_reply),
    ([topics.mapper_state("+"), topics.mapper_config("+")], topics.parse_mapper),
    ([*topics.kubeedge_writes("+"), *topics.kubeedge_membership_writes()], topics.parse_kubeedge),
    (topics.aws_requests(), topics.parse_aws),
)


def kubeedge(given: bytes) -> None:
    for strict in (True, False):
        with contextlib.suppress(kubeedge_json.Unreadable):
            kubeedge_json.read_update(given, strict=strict)
    with contextlib.suppress(ValueError):
        kubeedge_json.event_of(kubeedge_json.read_object(given))
    kubeedge_device.readings(given)
    kubeedge_json.go_error(given)


def aws(given: bytes) -> None:
    for read in (aws_request.read_update, aws_request.read_token):
        with contextlib.suppress(aws_request.Rejected):
            read(given)


def query(given: bytes) -> None:
    with contextlib.suppress(EdgetwinError):
        compile_plan(parse(given.decode(errors="replace")), rows=10)


# -- what people write -------------------------------------------------------------------------------------------------


def documents(given: bytes) -> None:
    with contextlib.suppress(InvalidManifest):
        checked([Source("fuzzed.yaml", given)], MAPPERS)


def settings(given: bytes, *, folder: Path) -> None:
    path = folder / "edgetwin.yaml"
    path.write_bytes(given)
    with contextlib.suppress(InvalidSettings):
        load_settings(path, {})


def config(given: bytes) -> None:
    """One map of keys, as every model of every mapper, and as KubeEdge's, which are split first."""
    try:
        tree = json.loads(given)
    except (ValueError, RecursionError):
        return
    if not isinstance(tree, dict):
        return
    for name in MAPPERS.names():
        mapper = MAPPERS.find(name)
        connection, device = mapper.split(tree)
        parts = ((mapper.connection, tree), (mapper.connection, connection), (mapper.device, tree),
                 (mapper.device, device), (mapper.point, tree), (mapper.scan, tree))  # fmt: skip
        for model, part in parts:
            if model is not None:
                with contextlib.suppress(ValidationError):
                    model.model_validate(part)


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a model as people write them."""
    return [one.alias or name for name, one in model.model_fields.items()]


KUBEEDGE_KEYS = (
    "characteristicUUID", "dataWrite", "dataConverter", "macAddress", "nodeID", "browseName", "userName", "timeout",
    "register", "offset", "limit", "isSwap", "isRegisterSwap", "slaveID", "ip", "serialPort", "common", "opcua",
    "modbus", "bluetooth", "customizedValues", "tcp", "com",
)  # fmt: skip


# -- what devices and disks say ----------------------------------------------------------------------------------------


def modbus(given: bytes) -> None:
    """The first bytes choose types and orders, the others are registers."""
    chosen, raw = given[:3].ljust(3, b"\0"), given[3:253]
    raw = raw.ljust(max(10, len(raw) + len(raw) % 2), b"\0")
    types = list(RawType)
    type_ = types[chosen[0] % len(types)]
    orders = [(Order.BIG, Order.LITTLE)[chosen[1] >> bit & 1] for bit in range(2)]
    encoding = Encoding(type_, REGISTERS.get(type_, 1 + chosen[2] % 4), *orders)
    block = Block([Field("value", 0, encoding), Field("end", 1, encoding)], len(raw) // 2)
    readings = Readings()
    block.decode_into(raw, readings)
    assert readings.values.keys() | readings.faults.keys() == {"value", "end"}
    for value in readings.values.values():
        with contextlib.suppress(NotEncodable):
            encode_value(value, encoding)


def modbus_frames(given: bytes) -> None:
    """The first byte chooses the frames and the unit that is waited for; the others come in two parts."""
    chosen, line = given[:1] or b"\0", given[1:600]
    transports = list(FRAMERS)
    framer = FRAMERS[transports[chosen[0] % len(transports)]](DecodePDU(False))
    for end in (len(line) // 2, len(line)):
        used, reply = framer.handleFrame(line[:end], 1 + chosen[0] // 128 * 16, 1)
        assert 0 <= used <= end
        assert reply is None or reply.function_code > 0


def ble_value(given: bytes) -> None:
    chosen, raw = given[:4].ljust(4, b"\0"), given[4:]
    types, wanted = list(BleType), list(ValueType)
    encoding = ble.Encoding(
        types[chosen[0] % len(types)], at=chosen[1] % 5, length=chosen[2] % 9, big=bool(chosen[3] & 1)
    )
    with contextlib.suppress(ble.NotDecodable, ble.NoValue):
        kind = wanted[chosen[3] % len(wanted)]
        value = encoding.decode(raw, kind)
        with contextlib.suppress(ble.NotEncodable):
            encoding.encode(value, kind, raw)


def bthome_packet(given: bytes) -> None:
    for key in (None, bytes(16)):
        with contextlib.suppress(ble.NotDecodable):
            bthome.packet(given, "54:48:E6:8F:80:A5", key)


def advertisement(given: bytes) -> None:
    """An advertisement with the bytes in each of its parts, heard by points of each kind."""
    said = AdvertisementData(None, {7: given}, {bthome.UUID: given, full_uuid("181A"): given}, [], None, -60, ())
    for key in (None, bytes(16)):
        heard, readings = Heard("54:48:E6:8F:80:A5", key, 1.0), Readings()
        heard.take(said, 0.0)
        for reader in HEARD:
            heard.put(readings, reader, 2.0)
        assert readings.values.keys() | readings.faults.keys() == {reader.name for reader in HEARD}


def module_answer(given: bytes) -> None:
    """What a serial module may answer, for each line of each module, and as a field of any type."""
    for one in EXCHANGES:
        for kind in ValueType:
            if one.field is not None and one.field.accepts(given):
                with contextlib.suppress(field.NotDecodable):
                    one.field.decode(given, kind)


def opcua_notification(given: bytes) -> None:
    with contextlib.suppress(NotADataChange):
        read_publish(given, read_variant)


def opcua_node(given: bytes) -> None:
    text = given.decode(errors="replace")
    for read in (checked_node_id, steps):
        with contextlib.suppress(ValueError):
            read(text)


def firmata(given: bytes) -> None:
    for side in Side:
        whole, bytewise = FirmataDecoder(side), FirmataDecoder(side)
        found = whole.feed(given)
        assert found == [one for at in range(len(given)) for one in bytewise.feed(given[at : at + 1])]


def framings(given: bytes) -> None:
    for config in FRAMINGS:
        framer = config.framer()
        found = framer.feed(given)
        for payload in found:
            assert config.framer().feed(config.framed(payload)) == [payload]


def packed_history(given: bytes) -> None:
    with contextlib.suppress(ValueError):
        readings = unpack(given)
        assert unpack(pack(readings)) == readings


def enrolment(given: bytes) -> None:
    """A join token, a request for a certificate, and a renewal, as strangers may send them."""
    text = given.decode(errors="replace")
    with contextlib.suppress(EdgetwinError):
        token = JoinToken.read(text)
        assert JoinToken.read(token.text()) == token
    with contextlib.suppress(EdgetwinError):
        AUTHORITY.issue(text, "gw-1", now=NOW_MS, days=1)
    with contextlib.suppress(EdgetwinError):
        AUTHORITY.has_signed(text)
    with contextlib.suppress(EdgetwinError):
        is_signed_renewal(AUTHORITY.certificate, text, text)
    with contextlib.suppress(EdgetwinError):
        life(text)


def _enrolments() -> Iterator[bytes]:
    key = new_key()
    csr = request(key, "gw-1")
    certificate, _ = AUTHORITY.issue(csr, "gw-1", now=NOW_MS, days=1)
    token = JoinToken(url="https://h", host="h", port=1, ca="0" * 64, secret="s" * 43, gateway="gw-1")
    yield from (text.encode() for text in (csr, certificate, key, token.text()))


NOW_MS = 1_800_000_000_000
AUTHORITY = Authority.create("gateways", NOW_MS)
MAPPERS = Registry.installed()
EXAMPLES = ROOT / "docs" / "examples"


KUBE_REQUESTS = (
    "/api/v1/namespaces/shop/pods/web",
    "/api/v1/pods?labelSelector=app+in+(a,b),!c&fieldSelector=metadata.name%3Dweb&limit=5",
    "/apis/devices.kubeedge.io/v1beta1/devices?watch=1&resourceVersion=7&allowWatchBookmarks=true",
    "/api/v1/pods?continue=WzUsImRlZmF1bHQiLCJ3ZWIiXQ==",
)


def kube_request(given: bytes) -> None:
    """A target of the local Kubernetes API, with a list or a watch of nothing behind it."""
    with contextlib.suppress(ApiError):
        wanted = asked(given.decode("latin-1"), "")
        if isinstance(wanted, List):
            listed(View(5), wanted)
        elif isinstance(wanted, Watch):
            Following(View(5), wanted).lines()


def targets(folder: Path) -> dict[str, Target]:
    """All targets by name; one of them writes a file into ``folder``."""
    made = [
        Target("wire", wire, _files(GOLDEN / "wire", "*.json")),
        Target("sync", sync_messages, _files(GOLDEN / "sync", "*.json")),
        Target("enrolment", enrolment, _enrolments),
        Target("topics", topic, _texts(*TOPICS)),
        Target("kubeedge", kubeedge, _conformance),
        Target("aws", aws, _texts('{"state": {"desired": {"a": null}}, "version": 3}')),
        Target("query", query, _texts(*QUERIES)),
        Target("kube-api", kube_request, _texts(*KUBE_REQUESTS)),
        Target("documents", documents, _documents),
        Target("settings", lambda given: settings(given, folder=folder), _files(EXAMPLES, "edgetwin.yaml")),
        Target("modbus", modbus, _texts(bytes(range(40)), b"\5\1\1" + b"\x7f\xf0" * 9)),
        Target("modbus-frames", modbus_frames, _modbus_frames),
        Target("ble", ble_value, _texts(bytes(range(20)), b"\7\0\0\1" + b"\xff" * 9)),
        Target("bthome", bthome_packet, _texts(bytes.fromhex("4002ca0903bf13"), b"\x41" + bytes(20))),
        Target("advertisement", advertisement, _texts(bytes.fromhex("4002ca0903bf13"), b"\x41" + bytes(20), b"ab")),
        Target("modules", module_answer, _texts("gpio read 0\n1\n", "!0F0300", ">+01.234", b"\xff\1\1", "on")),
        Target("config", config, _configs),
        Target("opcua", opcua_notification, _texts(bytes(60), b"\1\0\x3d\3" + bytes(90))),
        Target("nodes", opcua_node, _texts("ns=2;s=Tank.Level", "i=85", "g=1", "0:Objects/2:Tank")),
        Target("firmata", firmata, _texts(b"\xf9\2\5\xf0\x79\2\5S\0\xf7\x90\4\0", b"\xf0\x6c\x7f\0\1\1\1\x7f\xf7")),
        Target("framings", framings, _texts(*(config.framed(b"ab") for config in FRAMINGS))),
        Target("dns", dns.query, dns.queries),
        Target("dns-upstream", dns.response, dns.responses),
        Target("mesh-peers", peers.told, _files(GOLDEN / "wire", "mesh-*.json")),
        Target("http-request", http.request, http.requests),
        Target("http-response", http.response, http.responses),
        Target("http-chunks", http.chunks, http.bodies),
        Target("mesh-table", mesh.table, mesh.tables),
        Target("mesh-frame", mesh.frame, mesh.frames),
        Target("history", packed_history, _texts(pack([Reading(n, n, n / 2) for n in range(9)]))),
    ]
    return {one.name: one for one in made}


HEARD = [
    Reader.of(Point(f"{number}-{kind}", kind, BlePoint.model_validate(visitor)))
    for number, visitor in enumerate(
        (
            {"manufacturerData": 7},
            {"manufacturerData": 7, "type": "medfloat32", "at": 1},
            {"serviceData": "181A", "type": "int24", "byteOrder": "big"},
            {"serviceData": "181A", "type": "uint16", "bit": 3, "bits": 4},
            {"serviceData": "181A", "type": "utf8", "length": 4},
            {"bthome": "temperature"},
            {"bthome": "packetId"},
        )
    )
    for kind in ValueType
]
EXCHANGES = [
    module_exchange(module, SerialgpioPoint.model_validate({"line": 1, **lines}), "01")
    for module, lines in (
        (Module.NUMATO, {}),
        (Module.NUMATO, {"kind": "analog"}),
        (Module.NUMATO_RELAY, {"direction": "output"}),
        (Module.DCON, {}),
        (Module.DCON, {"kind": "analog"}),
        (Module.DCON, {"direction": "output"}),
        (Module.KMTRONIC_2, {"direction": "output"}),
        (Module.KMTRONIC_8, {"direction": "output"}),
    )
]
FRAMINGS = [
    FramingConfig.model_validate(settings)
    for settings in (
        {"end": "\r", "crc": "sum8"},
        {"type": "fixed", "length": 2, "start": "hex:A5", "crc": "crc16-modbus"},
        {"type": "length", "lengthBytes": 2, "lengthExtra": 2, "crc": "crc8"},
        {"type": "stx", "escape": "hex:10", "crc": "xor8"},
        {"type": "slip", "crc": "crc32"},
    )
]
TOPICS = (
    topics.mapper_state("modbus"),
    topics.kubeedge_device("plant/tank", "twin/update"),
    topics.kubeedge_node("gate", "membership/get"),
    topics.aws_shadow("tank", "", "update"),
    topics.aws_shadow("tank", "night", "get"),
    topics.reply("modbus", "one"),
    topics.request("get"),
)
QUERIES = (
    "SELECT name, reported.level FROM twins WHERE tags.area = 'hall-2' AND reported.level > 80",
    "SELECT count(*) FROM twins GROUP BY namespace",
    "SELECT * FROM twins WHERE NOT (name LIKE 'a%' OR reported.x IS NULL) ORDER BY name LIMIT 5",
)


def _conformance() -> Iterator[bytes]:
    for line in (ROOT / "tests" / "conformance" / "kubeedge-twin.jsonl").read_text().splitlines():
        yield json.loads(line)["in"].encode()


def _configs() -> Iterator[bytes]:
    """Every map of keys that stands in a sample or in a recorded mistake."""
    for path in (*(ROOT / "mappers").rglob("sample.yaml"), *(GOLDEN / "config").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            spec = document["spec"]
            visitors = [one.get("visitors", {}).get("configData") for one in spec.get("properties", ())]
            for keys in (spec.get("config"), spec.get("address"), *visitors):
                if keys:
                    yield json.dumps(keys, default=str).encode()


def _modbus_frames() -> Iterator[bytes]:
    for line in (GOLDEN / "modbus" / "ascii-frames.txt").read_text(encoding="ascii").splitlines():
        if line.startswith(":"):
            yield b"\x80" + line.encode() + b"\r\n"
            yield b"\x82\0\1\0\0\0" + bytes.fromhex(f"{len(line) // 2 - 1:02x}" + line[1:-2])


def _documents() -> Iterator[bytes]:
    yield from _files(EXAMPLES, "*.yaml")()
    yield from _files(GOLDEN / "config", "*.yaml")()
