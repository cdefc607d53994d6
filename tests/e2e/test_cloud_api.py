"""The cloud as its users have it: commands, an MQTT app, HTTPS; a real cloud, and a real gateway that has joined it."""

import asyncio
import json
import os
import queue
import signal
import ssl
import subprocess
import urllib.request

import paho.mqtt.client as paho
import pytest
from awscrt import mqtt
from awsiot import iotshadow, mqtt_connection_builder
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgehub.state import StateFolder
from tests.cloudsync.process import EDGETWIN, CloudProcess
from tests.e2e.rig import Hub
from tests.edgehub.push.servers import moody_server
from tests.edgehub.push.site import until

PLANT = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {namespace: plant, name: tank}
spec:
  properties:
  - {name: level, type: FLOAT, unit: "%", visitors: {configData: {table: holding, address: 0, type: uint16}},
     history: {keep: changes}}
  - {name: valve, type: INT, accessMode: ReadWrite, minimum: 0, maximum: 100,
     visitors: {configData: {table: holding, address: 1, type: uint16}}}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {namespace: plant, name: bus}
spec: {mapper: modbus, config: {host: 127.0.0.1}, simulate: true}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {namespace: plant, name: tank, labels: {area: hall}}
spec: {deviceModelRef: {name: tank}, gateway: gw-1, connection: bus, address: {unit: 1}}
"""


class Site:
    """A cloud with two workers, and one gateway in it."""

    def __init__(self, folder, port):
        self.cloud = CloudProcess(folder / "cloud", EDGETWIN_CLOUD_WORKERS="2")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")},
            "EDGETWIN_STATE": str(folder / "gateway"),
            "EDGETWIN_BROKER_PORT": str(port),
            "EDGETWIN_GATEWAY_NAME": "gw-1",
            "PATH": os.environ["PATH"] + ":/usr/sbin",
        }
        self.environment = environment
        self.hub = Hub(StateFolder(folder / "gateway"), environment, log=folder / "hub.log")
        self.plant = folder / "plant.yaml"
        self.plant.write_text(PLANT)

    def start(self):
        self.cloud.run("cloud", "init")
        self.cloud.start()
        token = self.cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
        subprocess.run([*EDGETWIN, "join", token], env=self.environment, check=True, capture_output=True)
        self.hub.start()
        asyncio.run(self.hub.ready())
        self.cloud.run("cloud", "apply", "-f", str(self.plant))
        self.wait_for("SELECT name FROM twins WHERE reported.level >= 0 AND reported.valve >= 0")

    def wait_for(self, query):
        """Watch until a twin is in the result of a query."""
        watch = subprocess.Popen(
            [*EDGETWIN, "cloud", "watch", "--json", "--query", query],
            env=self.cloud.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for line in watch.stdout:
                if "row" in json.loads(line):
                    return json.loads(line)
        finally:
            watch.send_signal(signal.SIGINT)
            watch.wait(20)
            watch.stdout.close()
        raise AssertionError("the watch ended")

    def stop(self):
        if self.hub.running:
            self.hub.stop()
        if self.cloud.running:
            self.cloud.stop()

    def ask(self, *words, check=True, **more):
        return self.cloud.run("cloud", *words, check=check, **more)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Site(tmp_path_factory.mktemp("site"), port)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_what_the_commands_set_reaches_the_device_and_comes_back(site):
    assert "on the cloud's disk" in site.ask("set", "plant/tank", "valve=60").stdout
    site.wait_for("SELECT name, reported.valve FROM twins WHERE reported.valve = 60")
    (twin,) = json.loads(site.ask("get", "plant/tank", "--json").stdout)["twins"]
    assert (twin["gateway"], twin["reported"]["valve"]["value"], twin.get("delta", {})) == ("gw-1", 60, {})
    done = site.ask("set", "plant/tank", "valve=33", "--expires", "10s", "--json")
    assert json.loads(done.stdout)["outcome"] == "done"
    local = json.loads(asyncio.run(_local(site)))
    assert local["desired"]["valve"]["value"] == 33
    assert "written at the edge" in site.ask("explain", "plant/tank", "valve").stdout
    assert "2 twins" not in site.ask("set-where", "tags.area = 'hall'", "valve=5", "--dry-run").stdout
    assert json.loads(site.ask("set-where", "name = 'tank'", "valve=5", "--json").stdout)["done"] == 1
    assert "online" in site.ask("gateway", "status", "gw-1").stdout
    assert "set-where" in site.ask("audit").stdout


async def _local(site):
    async with site.hub.client() as client:
        return (await client.get("plant/tank")).model_dump_json()


def test_readings_come_up_behind_the_live_values(site):
    site.wait_for("SELECT name FROM twins WHERE reported.level >= 0")
    for _ in range(40):
        done = site.ask("history", "plant/tank", "level", "--since", "10m", "--csv")
        if len(done.stdout.splitlines()) > 3:
            break
    header, *rows = done.stdout.splitlines()
    assert header.startswith("time,value,unit")
    assert len(rows) > 2


PUSH = """
apiVersion: edgetwin.dev/v1
kind: Push
metadata: {namespace: plant, name: collector}
spec: {type: http, config: {url: "URL"}, select: {properties: [level]}, batch: {wait: 50ms}}
"""


async def test_a_push_that_a_gateway_has_is_changed_from_the_cloud(site, tmp_path):
    path = tmp_path / "push.yaml"

    def apply(url):
        path.write_text(PUSH.replace("URL", url))
        return asyncio.to_thread(site.ask, "apply", "-f", str(path))  # the server must answer meanwhile

    async with moody_server() as moody, moody_server() as later:
        assert "no gateway has Push plant/collector" in (await apply(moody.url)).stderr
        applied = await asyncio.to_thread(site.hub.run, "apply", "-f", str(path))
        assert applied.returncode == 0, applied.stderr
        await until(lambda: moody.readings())
        await asyncio.to_thread(site.wait_for, "SELECT twin FROM twins WHERE kind = 'push' AND reported.sent > 0")
        async with asyncio.timeout(30):  # the document may come up later than the twin
            while (await apply(later.url)).stdout != "Push plant/collector at gw-1 updated\n":
                pass
        await until(lambda: later.readings())
        assert {(one["device"], one["property"]) for one in later.readings()} == {("tank", "level")}
        deleted = await asyncio.to_thread(site.ask, "delete", "-f", str(path))
        assert deleted.stdout == "Push plant/collector at gw-1 deleted\n"


def test_a_wrong_value_and_a_role_that_may_not_are_refused_with_code_4(site, tmp_path):
    before = site.ask("get", "plant/tank", "--json").stdout
    done = site.ask("set", "plant/tank", "valve=101", check=False)
    assert (done.returncode, "valve: 101" in done.stderr) == (4, True)
    site.ask("user", "add", "vic", "--role", "viewer", "--out", str(tmp_path / "vic.json"))
    more = {"EDGETWIN_CLOUD_CREDENTIALS": str(tmp_path / "vic.json")}
    _until_known(site, more)
    done = site.ask("set", "plant/tank", "valve=1", check=False, **more)
    assert (done.returncode, "vic may not ask for set" in done.stderr) == (4, True), done
    assert json.loads(site.ask("get", "plant/tank", "--json", **more).stdout)["twins"]
    assert json.loads(before)["twins"][0].get("desired") == json.loads(site.ask("get", "plant/tank", "--json").stdout)[
        "twins"
    ][0].get("desired")


def _until_known(site, more):
    for _ in range(20):
        if site.ask("get", "plant/tank", check=False, **more).returncode == 0:
            return
    raise AssertionError("the new user is never let in")


def test_any_mqtt_5_client_with_the_credentials_file_asks(site, tmp_path):
    credentials = json.loads((site.cloud.folder / "admin.json").read_text())
    ca, pair = tmp_path / "ca.pem", tmp_path / "pair.pem"
    ca.write_text(credentials["ca"])
    pair.write_text(credentials["certificate"] + credentials["key"])
    account = credentials["account"]
    answers = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "an-app", protocol=paho.MQTTv5)
    client.tls_set(str(ca), str(pair), str(pair))

    def on_connect(one, *_):
        one.subscribe(f"et/1/reply/{account}/1", 1)

    def on_subscribe(one, *_):
        asked = Properties(PacketTypes.PUBLISH)
        asked.ResponseTopic = f"et/1/reply/{account}/1"
        asked.CorrelationData = b"17"
        query = json.dumps({"query": "SELECT name FROM twins WHERE tags.area = 'hall'"})
        one.publish(f"et/1/api/query/{account}", query, 1, properties=asked)

    def on_message(one, _, message):
        answers.append((message.properties.CorrelationData, json.loads(message.payload)))
        one.disconnect()

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.connect(credentials["host"], credentials["port"], 20)
    client.loop_forever()
    assert answers == [(b"17", {"result": {"columns": ["name"], "rows": [["tank"]]}})]


def test_aws_s_own_client_sets_what_the_device_follows(site, tmp_path):
    credentials = json.loads((site.cloud.folder / "admin.json").read_text())
    paths = {name: tmp_path / name for name in ("ca", "certificate", "key")}
    for name, path in paths.items():
        path.write_text(credentials[name])
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint=credentials["host"],
        port=credentials["port"],
        ca_filepath=str(paths["ca"]),
        cert_filepath=str(paths["certificate"]),
        pri_key_filepath=str(paths["key"]),
        client_id="an-aws-app",
        clean_session=True,
    )
    connection.connect().result(15)
    try:
        client = iotshadow.IotShadowClient(connection)
        heard = queue.Queue()
        for name in ("delta", "accepted", "rejected", "documents"):
            topic = f"$aws/things/plant:tank/shadow/update/{name}"
            connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, lambda topic, **_: heard.put(topic))[0].result(15)
        request = iotshadow.UpdateShadowRequest(
            thing_name="plant:tank", state=iotshadow.ShadowState(desired={"valve": 77}), client_token="t-1"
        )
        client.publish_update_shadow(request, mqtt.QoS.AT_LEAST_ONCE).result(15)
        told = [heard.get(timeout=10).rsplit("/", 1)[-1] for _ in range(3)]
        assert told == ["delta", "accepted", "documents"]
        site.wait_for("SELECT name FROM twins WHERE reported.valve = 77")
        assert heard.get(timeout=10).endswith("documents")  # the device has followed: no delta is left
    finally:
        connection.disconnect().result(15)


def test_https_with_the_api_token_gives_the_same(site):
    credentials = json.loads((site.cloud.folder / "admin.json").read_text())
    context = ssl.create_default_context(cadata=credentials["ca"])
    url = f"{credentials['url']}/api/v1/twins/device/plant/tank"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {credentials['api_token']}"})
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        assert json.loads(answer.read())["gateway"] == "gw-1"


def test_a_killed_worker_costs_no_write_and_no_watch(site):
    workers = [pid for name, pid in site.cloud.children().items() if name.startswith("worker")]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    for value in range(10, 14):
        done = site.ask("set", "plant/tank", f"valve={value}", check=False)
        if done.returncode:  # the one that it had taken, a time-out at most
            done = site.ask("set", "plant/tank", f"valve={value}")
    site.wait_for("SELECT name FROM twins WHERE reported.valve = 13")
