"""Bad input from every side: one clear error that names what and where, nothing stored changes, the hub lives on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from twin.client import TwinClient
from twin.errors import EdgetwinError, InvalidMessage, InvalidName, InvalidValue, UnknownProperty, UnknownTwin
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.model import TwinKey
from twin.wire import topics
from twin.wire.api import DocumentSource
from twin.wire.codec import decode
from twin.wire.messages import Ack

MODEL = """apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: m}
spec: {properties: [{name: p, type: INT, accessMode: ReadWrite}]}
"""

DEVICE = """apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: d}
spec:
  deviceModelRef: {name: m}
  protocol: {protocolName: modbus, configData: {ip: 127.0.0.1, port: 1502, slaveID: 1}}
  properties:
    - name: p
      visitors: {protocolName: modbus, configData: {table: holding, address: 70000, type: uint16}}
"""

BAD_FILES = {
    "wrong register address": (
        MODEL + "---\n" + DEVICE,
        ["bad.yaml:14: spec.properties[0].visitors.configData.address: address 70000 is over 65535", "use address:"],
    ),
    "a tab": ("apiVersion: edgetwin.dev/v1\nkind: DeviceModel\nmetadata:\n\tname: x\n", ["bad.yaml:4", "tab"]),
    "a duplicate key": (MODEL + "spec: {}\n", ["bad.yaml:5", "spec", "twice"]),
    "a name with a slash": (MODEL.replace("{name: m}", "{name: a/b}"), ["bad.yaml:3: metadata.name", "a/b"]),
    "a name with a hash": (MODEL.replace("{name: m}", "{name: 'a#b'}"), ["bad.yaml:3: metadata.name", "a#b"]),
    "two mistakes at once": (
        MODEL.replace("type: INT", "type: INTEGR").replace("{name: m}", "{name: M}"),
        ["bad.yaml:3: metadata.name", "bad.yaml:4: spec.properties[0].type", "Did you mean"],
    ),
    "a model that does not exist": (DEVICE.replace("70000", "7"), ["bad.yaml:5: spec.deviceModelRef.name", "m"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
async def test_a_bad_file_changes_nothing_and_names_file_line_key_and_remedy(hub, case, tmp_path):
    text, wanted = BAD_FILES[case]
    (tmp_path / "bad.yaml").write_text(text)
    before = hub.folder.registry.read_bytes() if hub.folder.registry.exists() else b""
    done = await asyncio.to_thread(hub.run, "apply", "-f", str(tmp_path / "bad.yaml"))
    assert done.returncode == 4, done.stdout
    for part in wanted:
        assert part in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert (hub.folder.registry.read_bytes() if hub.folder.registry.exists() else b"") == before


@dataclass
class Reporter:
    """A program with a login of its own that reports on the device ``free``."""

    link: MqttLink
    acks: asyncio.Queue[Ack]

    def send(self, payload: bytes, key: str = "free") -> None:
        self.link.publish(topics.report("rig", TwinKey.parse(key)), payload)

    async def ack(self) -> Ack:
        return await asyncio.wait_for(self.acks.get(), 10)


@pytest.fixture
async def reporter(hub, plant) -> AsyncIterator[Reporter]:
    made = await asyncio.to_thread(hub.run, "account", "create", "rig", "--device", "free", "--device", "nope")
    access = await hub.access()
    password = made.stdout.split()[-1]
    options = MqttOptions(access.host, access.port, "rig-1", "rig", password, retry_base_s=0.1, retry_cap_s=0.2)
    acks: asyncio.Queue[Ack] = asyncio.Queue()
    async with MqttLink(options) as link:
        await link.connected(15)
        await link.subscribe(topics.ack("rig"), lambda one: acks.put_nowait(decode(Ack, one.payload, what="ack")))
        yield Reporter(link, acks)


BAD_REPORTS = {
    "not JSON": (b"{", "report of device/default/free"),
    "NaN": (b'{"id":7,"at":1,"values":{"count":NaN}}', "count: "),
    "a number beyond doubles": (b'{"id":7,"at":1,"values":{"count":1e999}}', "count: "),
    "a duplicate key": (b'{"id":7,"at":1,"values":{"count":1,"count":2}}', "'count' stands twice"),
    "invalid UTF-8": (b'{"id":7,"at":1,"values":{"count":"\xff\xfe"}}', "report of device/default/free"),
    "10 MB": (b'{"id":7,"at":1,"values":{"count":"' + b"x" * 10_000_000 + b'"}}', "over the limit"),
    "100 000 brackets": (b"[" * 100_000, "report of device/default/free"),
    "a wrong type": (b'{"id":7,"at":1,"values":{"count":"five"}}', 'count: "five" is not a whole number'),
    "out of range": (b'{"id":7,"at":1,"values":{"position":1001}}', "position: 1001 is outside the limits 0 to 1000 %"),
    "an unknown property": (b'{"id":7,"at":1,"values":{"colour":1}}', "colour: model 'valve' has no such property"),
    "an unknown key": (b'{"id":7,"at":1,"valeus":{"count":1}}', "valeus"),
}


@pytest.mark.parametrize("case", BAD_REPORTS)
async def test_a_bad_report_is_refused_with_its_reason_and_a_good_one_still_works(reporter, hub, case):
    payload, wanted = BAD_REPORTS[case]
    reporter.send(payload)
    ack = await reporter.ack()
    assert ack.stored == []
    assert wanted in ack.refused[0].error.message
    assert len(ack.refused[0].error.message) < 500
    async with hub.client() as client:
        assert (await client.get("free")).reported == {}
    reporter.send(b'{"id":8,"at":2,"values":{"count":3}}')
    assert (await reporter.ack()).stored == [8]


async def test_a_report_of_an_unknown_device_is_refused(reporter):
    reporter.send(b'{"id":7,"at":1,"values":{"count":1}}', key="nope")
    assert "device/default/nope is not known here" in (await reporter.ack()).refused[0].error.message


async def test_one_bad_property_does_not_take_the_others_with_it(reporter, hub):
    reporter.send(b'{"id":7,"at":1,"values":{"count":5,"mode":9}}')
    ack = await reporter.ack()
    assert ack.stored == [7]
    assert "mode: 9 is outside the limits 0 to 3" in ack.refused[0].error.message
    async with hub.client() as client:
        assert list((await client.get("free")).reported) == ["count"]


Asked = Callable[[TwinClient], object]
BAD_REQUESTS: dict[str, tuple[Asked, type[EdgetwinError], str]] = {
    "a wrong type": (lambda c: c.set("free", {"count": "five"}), InvalidValue, 'count: "five" is not a whole number'),
    "out of range": (lambda c: c.set("free", {"position": -1}), InvalidValue, "outside the limits 0 to 1000 %"),
    "a read-only property": (lambda c: c.set("free", {"flow": 1}), InvalidValue, "flow: it is ReadOnly"),
    "an unknown property": (lambda c: c.set("free", {"x": 1}), UnknownProperty, "no such property"),
    "an unknown twin": (lambda c: c.set("nope", {"x": 1}), UnknownTwin, "device/default/nope is not known here"),
    "a name with a hash": (lambda c: c.set("a#b", {"x": 1}), InvalidName, "a#b"),
    "a name with slashes": (lambda c: c.get("a/b/c/d"), InvalidName, "a/b/c/d"),
    "an empty set": (lambda c: c.set("free", {}), InvalidMessage, "names no property"),
    "a wrong kind": (lambda c: anext(c.list(kind="devise")), InvalidMessage, "devise"),
    "half good, half bad": (lambda c: c.set("free", {"count": 1, "mode": 9}), InvalidValue, "mode: 9 is outside"),
    "10 MB of documents": (
        lambda c: c.apply([DocumentSource(name="x", text="x" * 10_000_000)]),
        InvalidMessage,
        "limit",
    ),
}


async def test_bad_requests_come_back_as_the_error_they_are_and_change_nothing(hub, plant):
    async with hub.client() as client:
        before = await client.get("free")
        for case, (ask, error, text) in BAD_REQUESTS.items():
            with pytest.raises(error) as refused:
                await ask(client)
            assert text in str(refused.value), case
        assert await client.get("free") == before
        assert hub.running


async def test_garbage_on_every_topic_of_ours_does_not_stop_the_hub(hub, plant):
    access = await hub.access()
    async with MqttLink(MqttOptions(access.host, access.port, "x", access.account, access.password)) as link:
        await link.connected(10)
        for verb in ("get", "set", "watch", "explain", "apply", "status", "nonsense"):
            for payload in (b"", b"\xff", b"[]", b"{}", b'"x"', b"null", b"{" * 1000):
                link.publish(topics.request(verb), payload, qos=1)
                reply = topics.reply(access.account, "x")
                link.publish(topics.request(verb), payload, qos=1, response_topic=reply, correlation=b"1")
                link.publish(topics.request(verb), payload, qos=1, response_topic="et/1/report/cli/device/a/b")
    async with hub.client() as client:
        assert (await client.status()).devices == 2
