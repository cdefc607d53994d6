"""What needs no server: the reader of notifications against asyncua's own, values, statuses, node ids."""

import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from mappers.opcua import status
from mappers.opcua.events import event_of
from mappers.opcua.items import Item, Told, tell_changes
from mappers.opcua.nodeid import checked_node_id, namespace_uri, steps, with_index
from mappers.opcua.notification import Change, NotADataChange, read_publish
from mappers.opcua.values import NotEncodable, json_of, read_variant, variant_of
from mappers.sdk import Quality, Readings, Reason

pytestmark = pytest.mark.fast

Kind = ua.VariantType
BITS = {"SByte": 8, "Int16": 16, "Int32": 32, "Int64": 64}


def whole(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {
    Kind.Boolean: st.booleans(),
    **{Kind[name]: whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for name, bits in BITS.items()},
    Kind.Byte: whole(0, 255),
    Kind.UInt16: whole(0, 2**16 - 1),
    Kind.UInt32: whole(0, 2**32 - 1),
    Kind.UInt64: whole(0, 2**64 - 1),
    Kind.Float: st.floats(width=32, allow_nan=False, allow_infinity=False),
    Kind.Double: st.floats(allow_nan=False, allow_infinity=False),
    Kind.String: TEXT,
    Kind.LocalizedText: TEXT.filter(bool),
    Kind.Guid: st.uuids().map(str),
    Kind.ByteString: st.sampled_from(["", "AAEC", "//79"]),
    Kind.DateTime: st.sampled_from(["2023-11-14T22:13:20.123Z", "1999-01-01T00:00:00.000Z"]),
}
TYPED = st.sampled_from(list(VALUES)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.one_of(VALUES[kind], st.lists(VALUES[kind], min_size=1, max_size=4)))
)
INSTANT = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001  made aware below
    lambda one: one.replace(tzinfo=UTC, microsecond=one.microsecond // 1000 * 1000)
)
CODES = st.sampled_from([0, StatusCodes.BadSensorFailure, StatusCodes.UncertainLastUsableValue])


@given(TYPED)
def test_a_value_comes_back_as_it_was_written(typed):
    kind, value = typed
    variant = variant_of(value, kind, rank=0 if isinstance(value, list) else -1)
    body = ua.ua_binary.variant_to_binary(variant)
    assert read_variant(b"..." + body + b"...", 3) == (value, 3 + len(body))


@pytest.mark.parametrize(
    "values",
    [
        [ua.Variant(1, Kind.Int32), ua.Variant("x", Kind.String), ua.Variant([1.5, 2.5], Kind.Double)],
        [ua.Variant([ua.Variant(True, Kind.Boolean)], Kind.Variant, is_array=True)],
        [],
    ],
)
def test_an_array_of_variants_is_read(values):
    body = ua.ua_binary.variant_to_binary(ua.Variant(values, Kind.Variant, is_array=True))
    assert read_variant(b"..." + body + b"...", 3) == (plain(values), 3 + len(body))


def plain(value):
    """Variants without their wrapping."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return plain(value.Value) if isinstance(value, ua.Variant) else value


@pytest.mark.parametrize(
    "body",
    [
        b"\x80\xff\xff\xff\x7f",  # two thousand million nulls, which have no bytes
        b"\x98\xff\xff\xff\x7f",  # as many variants
        b"\x98\x01\0\0\0\x80\xff\xff\xff\x7f" + bytes(20),
        b"\x98\x01\0\0\0" * 2000 + b"\0",  # arrays in arrays
        b"\x17\x01\x17\x01\x80\xff\xff\xff\x7f" + bytes(20),  # nulls in a data value in a data value
        b"\x18" * 5000,  # a variant in a variant in a variant
        b"\x80\x01\0",
    ],
)
def test_a_variant_that_claims_too_much_is_refused(body):
    with pytest.raises(ValueError, match="cannot be read"):
        read_variant(body, 0)


def test_fields_of_events_that_cannot_be_read_are_left_out_and_garbage_is_refused_in_one_way():
    fields = [ua.Variant("2023-11-14", Kind.String), ua.Variant(None), ua.Variant("full", Kind.String)]
    answer = ua.PublishResponse()
    event = ua.EventFieldList(ClientHandle=7, EventFields=fields)
    answer.Parameters.NotificationMessage.NotificationData = [ua.EventNotificationList(Events=[event, event])]
    body = struct_to_binary(answer)
    changes = read_publish(body, read_variant).changes
    assert [one.handle for one in changes] == [7, 7]
    assert event_of(changes[0]) == ({"time": "2023-11-14", "message": "full"}, 1_699_920_000_000)
    assert event_of(changes[0]._replace(value=[])) == ({}, 0)
    for end in range(len(body)):
        with contextlib.suppress(NotADataChange):
            read_publish(body[:end], read_variant)


def test_few_nulls_are_read():
    assert read_variant(b"\x80\x02\0\0\0" + bytes(9), 0) == ([None, None], 5)


def published(values: list[ua.DataValue]) -> bytes:
    answer = ua.PublishResponse()
    answer.Parameters.SubscriptionId = 5
    answer.Parameters.AvailableSequenceNumbers = [7, 8]
    answer.Parameters.MoreNotifications = False
    answer.Parameters.NotificationMessage.SequenceNumber = 8
    items = [ua.MonitoredItemNotification(ClientHandle=number, Value=value) for number, value in enumerate(values)]
    answer.Parameters.NotificationMessage.NotificationData = [ua.DataChangeNotification(MonitoredItems=items)]
    return struct_to_binary(answer)


@given(st.lists(st.tuples(TYPED, CODES, st.none() | INSTANT, st.none() | INSTANT), max_size=8))
def test_notifications_are_read_as_asyncua_writes_them(given_values):
    values = [
        ua.DataValue(
            variant_of(value, kind, rank=0 if isinstance(value, list) else -1),
            ua.StatusCode(code),
            SourceTimestamp=source,
            ServerTimestamp=server,
        )
        for (kind, value), code, source, server in given_values
    ]
    read = read_publish(published(values), read_variant)
    assert (read.subscription, read.number, read.available, read.more) == (5, 8, (7, 8), False)
    assert read.changes == [
        Change(number, value, True, code, milliseconds(source), milliseconds(server))
        for number, ((_, value), code, source, server) in enumerate(given_values)
    ]


def milliseconds(stamp: datetime | None) -> int:
    return 0 if stamp is None else (stamp - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(st.binary(max_size=300))
def test_garbage_is_refused_in_one_way(body):
    with contextlib.suppress(NotADataChange):
        read_publish(body, read_variant)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_broken_message_is_refused_in_one_way(at, byte):
    whole_body = published([ua.DataValue(ua.Variant([1.5, 2.5], Kind.Double)), ua.DataValue(ua.Variant("x"))])
    body = bytearray(whole_body)
    body[at % len(body)] = byte
    for broken in (bytes(body), whole_body[: at % len(whole_body)]):
        with contextlib.suppress(NotADataChange):
            read_publish(broken, read_variant)


def test_an_announced_million_in_a_short_message_is_refused():
    body = published([])
    place = body.rindex(b"\x00\x00\x00\x00\x00\x00\x00\x00")
    with pytest.raises(NotADataChange):
        read_publish(body[: place - 8] + b"\xff\xff\xff\x7f" * 4, read_variant)


@pytest.mark.parametrize(
    ("value", "kind", "rank", "text"),
    [
        (256, Kind.Byte, -1, "does not fit into Byte, which holds 0 to 255"),
        (True, Kind.Int16, -1, "not a whole number"),
        (1e39, Kind.Float, -1, "does not fit into Float"),
        ("x", Kind.Double, -1, "is not a number"),
        (2, Kind.Boolean, -1, "neither true nor false"),
        (5, Kind.String, -1, "is not text"),
        ("x", Kind.Guid, -1, "is not a Guid"),
        ("?", Kind.ByteString, -1, "is not a ByteString"),
        ([1], Kind.Int16, -1, "holds one value"),
        (1, Kind.Int16, 0, "is not an array"),
        ([[1], [1, 2]], Kind.Int16, 0, "not all of one length"),
        ({}, Kind.ExtensionObject, -1, "is not supported"),
    ],
)
def test_what_a_type_cannot_hold_is_refused(value, kind, rank, text):
    with pytest.raises(NotEncodable, match=text):
        variant_of(value, kind, rank=rank)


def test_structures_and_odd_types_have_a_json_form():
    assert json_of(ua.Range(1.0, 5.0)) == {"Low": 1.0, "High": 5.0}
    assert json_of(ua.NodeId.from_string("ns=2;s=x")) == "ns=2;s=x"
    assert json_of(ua.QualifiedName("x", 2)) == "2:x"
    assert json_of(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
    with pytest.raises(NotEncodable, match="no JSON form"):
        json_of(object())


@pytest.mark.parametrize(
    ("name", "quality", "reason"),
    [
        ("BadSensorFailure", Quality.BAD, Reason.DEVICE_FAILURE),
        ("BadNoCommunication", Quality.BAD, Reason.NOT_CONNECTED),
        ("BadNodeIdUnknown", Quality.BAD, Reason.ILLEGAL_ADDRESS),
        ("BadUserAccessDenied", Quality.BAD, Reason.ACCESS_DENIED),
        ("BadOutOfRange", Quality.BAD, Reason.OUT_OF_RANGE),
        ("BadWaitingForInitialData", Quality.BAD, Reason.STALE),
        ("BadConfigurationError", Quality.BAD, Reason.CONFIG_ERROR),
        ("BadTypeMismatch", Quality.BAD, Reason.DECODE_ERROR),
        ("BadTimeout", Quality.BAD, Reason.TIMEOUT),
        ("UncertainLastUsableValue", Quality.UNCERTAIN, Reason.STALE),
        ("UncertainEngineeringUnitsExceeded", Quality.UNCERTAIN, Reason.OUT_OF_RANGE),
        ("UncertainSensorNotAccurate", Quality.UNCERTAIN, Reason.NOT_ACCURATE),
    ],
)
def test_a_status_code_is_a_quality_and_a_reason(name, quality, reason):
    fault = status.fault_of(getattr(StatusCodes, name), name)
    assert (fault.quality, fault.reason) == (quality, reason)


def test_every_known_status_code_keeps_its_class():
    for name, code in vars(StatusCodes).items():
        if isinstance(code, int):
            assert status.is_good(code) == name.startswith("Good"), name
            if not status.is_good(code):
                expected = Quality.UNCERTAIN if name.startswith("Uncertain") else Quality.BAD
                assert status.fault_of(code, name).quality is expected, name


def test_the_codes_of_the_table_are_what_its_comments_say():
    source = Path(status.__file__).read_text(encoding="utf-8")
    lines = [line for line in source.splitlines() if line.lstrip().startswith("0x")]
    assert len(lines) > 25
    for line in lines:
        code, _, comment = line.partition(":")
        name = comment.partition("#")[2].split()[0].strip(":,;")
        assert getattr(StatusCodes, name) >> 16 == int(code.strip(), 16), name


@pytest.mark.parametrize("text", ["i=85", "ns=2;s=a;b=c", "ns=1;g=72962b91-fa75-4ae6-8d28-b404dc7daf63", "ns=3;b=AAEC"])
def test_node_ids_as_the_specification_writes_them(text):
    assert checked_node_id(text) == text
    assert ua.NodeId.from_string(text).to_string().lower() == text.lower() or "b=" in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Pump.Speed", "is not a node id"),
        ("ns=2;i=x", "is not a number below"),
        ("ns=99999;i=1", "over 65535"),
        ("g=12", "is not a GUID"),
        ("b=?", "is not base64"),
    ],
)
def test_what_is_no_node_id(text, problem):
    with pytest.raises(ValueError, match=problem):
        checked_node_id(text)


def test_a_namespace_uri_gets_its_index():
    assert namespace_uri("nsu=urn:plant;s=a") == "urn:plant"
    assert with_index("nsu=urn:plant;s=a", 4) == "ns=4;s=a"
    assert steps("2:Pump/Speed") == ((2, "Pump"), (0, "Speed"))


class Kept:
    def __init__(self) -> None:
        self.told: list[Readings] = []

    def tell(self, readings: Readings) -> None:
        self.told.append(readings)


def change(handle: int, value: object, code: int = 0) -> Change:
    return Change(handle, value, True, code, 1000 + handle, 0)  # type: ignore[arg-type]


def test_changes_go_to_their_plan_and_a_queue_keeps_its_order():
    first, second = Kept(), Kept()
    one, two = Told(first), Told(second)  # type: ignore[arg-type]
    items = {1: Item(one, "a"), 2: Item(two, "b")}
    told = tell_changes([change(1, 1), change(2, 5), change(1, 2), change(9, 7)], items)
    assert told == {one, two}
    assert [readings.values for readings in first.told] == [{"a": 1}, {"a": 2}]
    assert [(readings.values, readings.times_ms) for readings in second.told] == [({"b": 5}, {"b": 1002})]


def test_a_deadband_lets_every_change_of_quality_pass():
    kept = Kept()
    items = {1: Item(Told(kept), "a", deadband=1.0)}  # type: ignore[arg-type]
    bad = StatusCodes.BadSensorFailure
    for one in (change(1, 5.0), change(1, 5.5), change(1, 5.5, bad), change(1, 5.5), change(1, 6.0), change(1, 7.0)):
        tell_changes([one], items)
    assert [(readings.values, bool(readings.faults)) for readings in kept.told] == [
        ({"a": 5.0}, False),
        ({"a": 5.5}, True),
        ({"a": 5.5}, False),
        ({"a": 7.0}, False),
    ]


def test_the_status_of_each_reason_on_the_page_of_errors_is_read_as_that_reason():
    page = (Path(__file__).parents[3] / "docs/errors.md").read_text(encoding="utf-8").partition("## Reasons")[2]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", page, re.MULTILINE)
    said = [(name, Reason(reason)) for reason, names in rows if "gateway" not in names for name in names.split(", ")]
    assert len({name for name, _ in said}) == len(said) > 10
    for name, reason in said:
        fault = status.fault_of(getattr(StatusCodes, name), name)
        assert (fault.reason, str(fault.quality)) == (reason, "bad" if name.startswith("Bad") else "uncertain"), name
