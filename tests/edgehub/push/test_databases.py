"""InfluxDB's lines and OTLP: exactly what arrives, and a database of others that takes the lines for real."""

import asyncio
import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.edgehub.push.collectors import Bucket, Collected, answering
from tests.edgehub.push.site import push, site, until, view_of

ROOT = Path(__file__).resolve().parents[3]
VICTORIA = shutil.which("victoria-metrics") or str(ROOT / ".cache/victoria-metrics/usr/bin/victoria-metrics")


async def test_points_are_those_that_an_independent_reader_finds(tmp_path):
    bucket, token = Bucket(), tmp_path / "token"
    token.write_text("not-a-secret")
    async with site(tmp_path / "s") as gateway, answering(bucket) as moody:
        url = f"http://127.0.0.1:{moody.port}"
        config = f"{{url: '{url}', org: plant, bucket: readings, token: {{file: {token}}}, tags: {{hall: 'a b,c=d'}}}}"
        await gateway.follow(view_of(push("influxdb2", config)))
        await gateway.report(61.5)
        await gateway.report('a "quoted" \\ text\nof two lines', name="note")
        await until(lambda: len(bucket.points) == 2)
    first, second = bucket.points
    assert first["measurement"] == "tank"
    assert first["tags"] == {
        **{"gateway": "gw-1", "namespace": "plant", "device": "tank", "property": "level", "hall": "a b,c=d"}
    }
    assert first["fields"] == {"level": 61.5, "quality": "good"}
    assert second["fields"]["note"] == 'a "quoted" \\ text\nof two lines'
    assert second["time"] > first["time"]


async def test_kubeedge_s_own_words_for_influxdb_are_kept_to(tmp_path, monkeypatch):
    bucket = Bucket()
    monkeypatch.setenv("TOKEN", "not-a-secret")
    async with site(tmp_path / "s") as gateway, answering(bucket) as moody:
        await gateway.follow(
            view_of(
                f"""
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {{name: tank, namespace: plant}}
spec: {{properties: [{{name: level, type: FLOAT}}]}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {{name: tank, namespace: plant}}
spec:
  deviceModelRef: {{name: tank}}
  properties:
    - name: level
      pushMethod:
        dbMethod:
          influxdb2:
            influxdb2ClientConfig: {{url: "http://127.0.0.1:{moody.port}", org: plant, bucket: readings}}
            influxdb2DataConfig: {{measurement: stat, tag: {{unit: percent}}, fieldKey: beta}}
"""
            )
        )
        await gateway.report(7.5)
        await until(lambda: bucket.points)
    (point,) = bucket.points
    assert (point["measurement"], point["fields"]["beta"], point["tags"]["unit"]) == ("stat", 7.5, "percent")


async def test_a_collector_gets_gauges_and_what_is_no_number_is_set_aside(tmp_path):
    collected = Collected()
    async with site(tmp_path / "s") as gateway, answering(collected) as moody:
        await gateway.follow(view_of(push("otel", f"{{url: 'http://127.0.0.1:{moody.port}'}}")))
        await gateway.report(1.5)
        await gateway.report("no number", name="note")
        await gateway.report(2.5)
        await until(lambda: len(collected.points()) == 2)
        await until(lambda: gateway.told().get("aside") == 1)
    assert collected.points() == [("tank", "level", 1.5), ("tank", "level", 2.5)]
    metric = collected.requests[0].resource_metrics[0].scope_metrics[0].metrics[0]
    assert (metric.name, metric.unit) == ("level", "%")
    assert metric.gauge.data_points[0].time_unix_nano > 1_700_000_000 * 10**9


@pytest.mark.skipif(not Path(VICTORIA).exists(), reason="victoria-metrics is not installed")
async def test_a_real_database_takes_the_lines_and_gives_the_values_back(tmp_path, free_port):
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(VICTORIA, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={tmp_path / 'db'}", "-loggerLevel=ERROR"),
        *("-search.latencyOffset=0s", "-memory.allowedBytes=64MB"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with site(tmp_path / "s") as gateway, httpx.AsyncClient() as client:
            await gateway.follow(view_of(push("influxdb2", f"{{url: '{url}', bucket: readings}}")))
            await gateway.report(61.5)
            await until(lambda: gateway.told().get("sent") == 1)
            found = []
            async with asyncio.timeout(30):
                while not found:
                    answer = await client.get(f"{url}/api/v1/export", params={"match[]": "tank_level"})
                    found = [json.loads(line) for line in answer.text.splitlines()]
                    await asyncio.sleep(0.1)
    finally:
        process.terminate()
        await process.wait()
    (series,) = found
    assert series["values"] == [61.5]
    assert {**series["metric"], "db": ""} == {
        **{"__name__": "tank_level", "db": "", "gateway": "gw-1", "namespace": "plant", "device": "tank"},
        "property": "level",
    }
