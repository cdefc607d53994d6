"""The metrics of a running gateway, as Prometheus reads them; and none of them is unknown to the table or the page."""

from __future__ import annotations

import asyncio
import random
import ssl

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from edgehub.app import Gateway
from edgehub.metering import TOKEN
from edgehub.metrics import METRICS
from edgehub.settings import Settings
from edgehub.state import StateFolder
from twin.clock import SystemClock
from twin.wire.api import ApplyRequest, DocumentSource

POD = """
apiVersion: v1
kind: Pod
metadata: {name: ends}
spec: {restartPolicy: Never, containers: [{name: app, image: host, command: ["true"]}]}
---
apiVersion: edgetwin.dev/v1
kind: Push
metadata: {name: out}
spec: {type: http, config: {url: "http://127.0.0.1:9/"}}
"""


def settings(free_port, **metrics):
    said = {"gateway": {"name": "hall-7"}, "broker": {"port": free_port()}, "web": {"listen": ""}, "metrics": metrics}
    return Settings.model_validate(said)


async def scraped(port, *, token="", tls=None):
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        more = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    status = head.split(b" ")[1]
    text = body.decode() if status == b"200" else ""
    return status, {one.name: one for one in text_string_to_metric_families(text)}


async def test_a_gateway_tells_prometheus_how_it_is(tmp_path, free_port):
    port, folder = free_port(), StateFolder(tmp_path / "state")
    made = settings(free_port, listen=f"127.0.0.1:{port}")
    async with Gateway.running(made, folder, clock=SystemClock(), rng=random.Random(1)) as gateway:
        source = DocumentSource(name="pod.yaml", text=POD)
        await gateway._applying.apply(ApplyRequest(sources=[source]), None)
        status, found = await scraped(port)
    assert status == b"200"
    names = {name for family in found.values() for name in (family.name, f"{family.name}_total") if name in METRICS}
    assert len(names) == len(found)
    twins = {one.labels["kind"]: one.value for one in found["edgetwin_twins"].samples}
    assert (twins["gateway"], twins["pod"], twins["device"]) == (1, 1, 0)
    assert {one.labels["state"] for one in found["edgetwin_sync_state"].samples if one.value} == {"off"}
    assert found["edgetwin_sync_connected"].samples[0].value == 0
    count = next(one.value for one in found["edgetwin_commit_seconds"].samples if one.name.endswith("_count"))
    assert count > 0
    assert {one.labels["pod"] for one in found["edgetwin_pod_phase"].samples} == {"default/ends"}
    assert {one.labels["push"] for one in found["edgetwin_push_delivering"].samples} == {"default/out"}
    assert {one.labels["child"] for one in found["edgetwin_child_running"].samples} >= {"mosquitto"}
    assert next(one.value for one in found["edgetwin_state_bytes"].samples if one.labels["file"] == "state.db") > 0
    never = METRICS.keys() - names - {name for name in METRICS if "_mapper_" in name or "_api_" in name}
    assert never == set()


async def test_beyond_loopback_it_takes_tls_and_the_token(tmp_path, free_port):
    from edgehub.web.certificate import make

    file, port, folder = tmp_path / "own.pem", free_port(), StateFolder(tmp_path / "state")
    make(file, ["127.0.0.1"])
    made = settings(free_port, listen=f"0.0.0.0:{port}", certfile=str(file), keyfile=str(file))
    tls = ssl.create_default_context(cafile=str(file))
    tls.check_hostname = False
    async with Gateway.running(made, folder, clock=SystemClock(), rng=random.Random(1)):
        token = (folder.path / TOKEN).read_text().strip()
        assert (folder.path / TOKEN).stat().st_mode & 0o777 == 0o600
        assert (await scraped(port, tls=tls))[0] == b"401"
        status, found = await scraped(port, token=token, tls=tls)
    assert status == b"200"
    assert "edgetwin_twins" in found


async def test_an_address_that_is_taken_is_an_alarm_and_no_more(tmp_path, free_port):
    port = free_port()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    made = settings(free_port, listen=f"127.0.0.1:{port}")
    async with (
        server,
        Gateway.running(made, StateFolder(tmp_path / "state"), clock=SystemClock(), rng=random.Random(1)) as gateway,
    ):
        assert [one for one in gateway.status.reply().alarms if f"127.0.0.1:{port}" in one]


def test_an_open_listener_beyond_loopback_is_refused():
    for said in ({"listen": "0.0.0.0:9464"}, {"listen": "127.0.0.1:9464", "certfile": "a"}, {"listen": "here"}):
        with pytest.raises(ValidationError):
            Settings.model_validate({"metrics": said})
