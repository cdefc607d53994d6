"""An alarm from the cable to the cloud and back: it fires, is seen, outlives the hub, ends, is answered from afar."""

from __future__ import annotations

import asyncio
import json

import pytest
from pyModbusTCP.server import ModbusServer

from tests.e2e.rig import DOCUMENTS, until
from tests.e2e.sync_site import SyncSite
from twin.alarm import alarm_of
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.wire import topics
from twin.wire.codec import decode
from twin.wire.mesh import Alert

RULES = """
---
apiVersion: edgetwin.dev/v1
kind: AlarmRule
metadata: {name: device-silent}
spec: {metric: deviceSilent, for: 1s, keepFiringFor: 1s, severity: critical}
---
apiVersion: edgetwin.dev/v1
kind: AlarmRule
metadata: {name: flowing}
spec: {twin: {matchLabels: {area: hall-1}}, property: flow, operator: ">=", threshold: 500, hysteresis: 100}
"""
pytestmark = pytest.mark.timeout(300)  # a cloud and a gateway, which is killed, on a machine that may be busy
SILENT, FLOWING = "alarm/default/device-silent.v1.gw-1", "alarm/default/flowing.v1.gw-1"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with SyncSite(tmp_path_factory.mktemp("alarms")) as found:
        yield found


async def alarm_when(client, key, wanted, within_s=60.0):
    """The alarm as soon as it is as wanted."""
    async with asyncio.timeout(within_s), client.watch(kind="alarm") as events:
        async for event in events:
            body = event.body
            if body is not None and body.twin == key and "rule" in body.reported and wanted(alarm_of(body)):
                return alarm_of(body)
    raise AssertionError("the watch ended")


def state_is(name):
    return lambda alarm: alarm.state == name


async def test_an_alarm_is_seen_outlives_its_hub_and_is_answered_from_the_cloud(site, device):
    site.apply(DOCUMENTS.replace("${PORT}", str(device.port)) + RULES)
    told = []
    access = await site.hub.access()
    async with site.users() as (edge, cloud):
        await alarm_silent_ends(edge)
        options = MqttOptions(access.host, access.port, "alarm-reader", access.account, access.password)
        async with MqttLink(options) as link:
            await link.connected(10.0)
            await link.subscribe(topics.ALL_ALERTS, told.append)
            device.server.stop()
            fired = await alarm_when(edge, SILENT, state_is("firing"))
            assert (fired.severity, fired.subject) == ("critical", "device/default/v1")
            await until(lambda: any(one.topic.endswith("/v1/device-silent") for one in told) or None, 10)
        alert = next(decode(Alert, one.payload, what="alert") for one in told if one.topic.endswith("/device-silent"))
        assert (alert.firing, alert.since, alert.about) == (True, fired.since, "default/v1")
        shown = site.hub.run("alarms", "list", "--severity", "critical")
        assert shown.returncode == 1
        assert "default/device-silent.v1.gw-1" in shown.stdout
        acked = site.hub.run("alarms", "ack", "device-silent.v1", "--note", "on my way")
        assert acked.returncode == 0, acked.stderr
        await alarm_when(edge, SILENT, state_is("acknowledged"))
        assert site.hub.run("alarms", "list", "--severity", "critical").returncode == 0
        explained = await edge.explain(SILENT, "acknowledged")
        assert "cli" in explained.model_dump_json()
    site.hub.kill()
    asleep = json.loads(site.hub.run("alarms", "list", "--json").stdout)["alarms"]
    assert [(one["state"], one["note"]) for one in asleep] == [("acknowledged", "on my way")]
    site.hub.start()
    await site.hub.ready()
    async with site.users() as (edge, cloud):
        again = await alarm_when(edge, SILENT, lambda _: True)
        assert (again.state, again.since, again.acknowledged_by) == ("acknowledged", fired.since, "cli")
        there = await alarm_when(cloud, SILENT, state_is("acknowledged"))
        assert (there.since, there.note) == (fired.since, "on my way")
        device.server = ModbusServer(host="127.0.0.1", port=device.port, no_block=True, data_bank=device.bank)
        device.server.start()
        over = await alarm_when(cloud, SILENT, state_is("resolved"))
        assert over.since == fired.since
        device.set_input(0, 600)
        hot = await alarm_when(cloud, FLOWING, state_is("firing"))
        assert hot.value == 600
        rows = (await cloud.query("SELECT twin FROM twins WHERE kind = 'alarm' AND reported.state = 'firing'")).rows
        assert [row[0] for row in rows if "v1" in row[0]] == [FLOWING]
        acked = site.cloud.run("cloud", "alarms", "ack", "flowing")
        assert acked.returncode == 0, acked.stderr
        seen = await alarm_when(edge, FLOWING, state_is("acknowledged"))
        assert seen.acknowledged_by == "admin"
        device.set_input(0, 100)
        await alarm_when(cloud, FLOWING, state_is("resolved"))
        listed = site.cloud.run("cloud", "alarms", "list", "--all", "--json")
        states = {one["alarm"]: one["state"] for one in json.loads(listed.stdout)["alarms"]}
        assert states["default/device-silent.v1.gw-1"] == states["default/flowing.v1.gw-1"] == "resolved"
    rules = json.loads(site.cloud.run("cloud", "alarms", "rules", "--json").stdout)["rules"]
    assert ["default/flowing", "flow >= 500, back by 100", False] in [
        [one["rule"], one["when"], one["own"]] for one in rules
    ]
    refused = site.hub.run("alarms", "ack", "flowing")
    assert (refused.returncode, "nothing to acknowledge" in refused.stderr) == (4, True)


async def alarm_silent_ends(edge):
    """Wait until the device answers, so that its silence is one."""
    async with asyncio.timeout(60), edge.watch("device/default/v1") as events:
        async for event in events:
            if event.body is not None and "flow" in event.body.reported:
                return


async def test_a_rule_of_the_cloud_goes_to_its_gateways(site):
    rule = """
apiVersion: edgetwin.dev/v1
kind: AlarmRule
metadata: {name: from-above}
spec: {metric: diskFreePercent, operator: "<", threshold: 101, severity: info}
"""
    applied = site.apply_in_cloud(rule)
    assert applied.returncode == 0, applied.stderr
    async with site.users() as (_, cloud):
        fired = await alarm_when(cloud, "alarm/default/from-above.gw-1", state_is("firing"))
        assert 0 < fired.value < 100
