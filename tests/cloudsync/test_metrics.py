"""The metrics of a cloud's workers, as Prometheus reads them, with a gateway that has joined."""

from __future__ import annotations

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from cloudsync.metrics import METRICS
from cloudsync.settings import CloudSettings
from tests.cloudsync.process import free_ports
from tests.e2e.sync_site import SyncSite, devices


def scraped(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return {one.name: one for one in text_string_to_metric_families(answer.read().decode())}


def test_a_worker_tells_of_gateways_messages_and_requests(tmp_path):
    (port,) = free_ports(1)
    with SyncSite(tmp_path, EDGETWIN_CLOUD_METRICS_LISTEN=f"127.0.0.1:{port}") as site:
        site.apply(devices("tank"))
        site.live()
        listed = site.cloud.run("cloud", "get", "--json")
        assert listed.returncode == 0, listed.stderr
        assert site.cloud.run("cloud", "get", "plant/nothing", check=False).returncode == 4
        ends_s = time.monotonic() + 30
        while "edgetwin_cloud_leases" not in (found := scraped(port)):  # after the worker's first round
            assert time.monotonic() < ends_s
            time.sleep(0.1)
    names = {name for one in found.values() for name in (one.name, f"{one.name}_total") if name in METRICS}
    assert len(names) == len(found)
    assert METRICS.keys() - names == {"edgetwin_cloud_rollouts"}
    value = {(one.name, *sorted(one.labels.values())): one.value for family in found.values() for one in family.samples}
    assert value["edgetwin_cloud_gateways", "online"] == 1
    assert value["edgetwin_cloud_store_up",] == 1
    assert value["edgetwin_cloud_messages_total", "Hello", "up"] >= 1
    assert value["edgetwin_cloud_messages_total", "Frame", "up"] >= 1
    assert value["edgetwin_cloud_commit_seconds_count",] > 0
    assert value["edgetwin_api_seconds_count", "get"] == 2
    assert value["edgetwin_api_refused_total", "get", "unknown_twin"] == 1
    assert len(found["edgetwin_cloud_duty"].samples) == 2
    assert [one.value for one in found["edgetwin_cloud_leases"].samples] == [1]


def test_metrics_of_a_cloud_stay_on_loopback():
    with pytest.raises(ValidationError, match="not on loopback"):
        CloudSettings.model_validate({"metrics": {"listen": "0.0.0.0:9465"}})
