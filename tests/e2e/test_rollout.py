"""A release from the cloud to gateways: real processes, real certificates, files with ranges, twins that say it."""

import hashlib
import http.client
import json
import os
import signal
import ssl
import time

import pytest

from edgehub.cloud_keys import CloudKeys
from tests.cloudsync.test_bundles import program
from tests.e2e.sync_site import SyncSite

pytestmark = pytest.mark.timeout(300)  # many commands, each a process of its own

FOUND_S = 60.0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with SyncSite(tmp_path_factory.mktemp("rollout")) as made:
        yield made


@pytest.fixture(scope="module")
def keys(site):
    return CloudKeys(site.folder / "gateway" / "keys")


CONTENT = program("9.9.0") + bytes(200_000)
PATH = f"/bundles/{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(scope="module")
def bundle(site):
    file = site.folder / "edgetwin-9.9.0.edgetwin"
    file.write_bytes(CONTENT)
    return site.cloud.json("cloud", "bundle", "add", str(file))


def get(site, path, *, keys=None, headers=None, method="GET"):
    """Ask the cloud's web server; status, headers, body."""
    context = ssl.create_default_context(cadata=site.cloud.ca)
    if keys is not None:
        context.load_cert_chain(keys.pair)
    connection = http.client.HTTPSConnection("localhost", site.cloud.web_port, context=context, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def until(look, what):
    ends_s = time.monotonic() + FOUND_S
    while not (found := look()):
        assert time.monotonic() < ends_s, what
        time.sleep(0.2)
    return found


def test_a_bundle_goes_to_gateways_that_show_their_certificates_whole_or_from_some_byte_on(site, bundle, keys):
    assert (f"/bundles/{bundle['sha256']}", bundle["version"]) == (PATH, "9.9.0")
    until(
        lambda: get(site, PATH, keys=keys)[0] == 200, "the web server does not know the gateway"
    )  # it looks by and by
    status, headers, body = get(site, PATH, keys=keys)
    assert (status, body) == (200, CONTENT)
    assert headers["Accept-Ranges"] == "bytes"
    status, headers, body = get(site, PATH, keys=keys, headers={"Range": "bytes=150000-"})
    assert (status, body) == (206, CONTENT[150_000:])
    assert headers["Content-Range"] == f"bytes 150000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert get(site, PATH, keys=keys, headers={"Range": f"bytes={len(CONTENT)}-"})[0] == 416
    status, headers, body = get(site, PATH, keys=keys, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")
    assert get(site, PATH)[0] == 401
    assert get(site, f"/bundles/{'0' * 64}", keys=keys)[0] == 404
    for bad in ("/bundles/../cloud.db", "/bundles/%2e%2e%2fcloud.db", "/bundles/abc"):
        assert get(site, bad, keys=keys)[0] in (400, 404)


def test_a_rollout_orders_a_release_and_an_end_of_it_takes_the_order_back_though_a_worker_dies(site, bundle):
    cloud = site.cloud

    def planned():
        done = cloud.run("cloud", "rollout", "start", "9.9.0", "--dry-run", "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    assert [one["outcome"] for one in until(planned, "the gateway never came")["gateways"]] == ["planned"]
    refused = cloud.run("cloud", "rollout", "start", "9.9.0", "--label", "site=moon", check=False)
    assert "no gateway fits" in refused.stderr
    began = cloud.json("cloud", "rollout", "start", "9.9.0")

    def desired():
        twin = json.loads(site.hub.run("get", "gateway/default/gw-1", "--json").stdout)["twins"][0]
        return twin.get("desired", {}).get("release", {}).get("value")

    order = until(desired, "the order never came to the gateway")
    assert (order["order"], order["version"], order["sha256"]) == (began["id"], "9.9.0", bundle["sha256"])
    assert order["size"] == len(CONTENT)
    assert order["url"].endswith(PATH)
    again = cloud.run("cloud", "rollout", "start", "9.9.0", check=False)
    assert f"rollout {began['id']} has gw-1" in again.stderr
    kept = cloud.run("cloud", "bundle", "remove", "9.9.0", check=False)
    assert "brings 9.9.0 to gateways" in kept.stderr
    os.kill(cloud.children()["worker-1"], signal.SIGKILL)
    cloud.run("cloud", "rollout", "abort", began["id"])
    until(lambda: not desired(), "the order was never taken back")
    told = cloud.json("cloud", "rollout", "status", began["id"])
    assert told["phase"] == "aborted"
    assert told["gateways"][0]["outcome"] in ("ordered", "withdrawn")


def test_a_gateway_that_is_shut_out_has_no_bundles_any_more(site, bundle, keys):
    assert get(site, PATH, keys=keys)[0] == 200
    site.cloud.run("cloud", "gateway", "revoke", "gw-1")
    until(lambda: get(site, PATH, keys=keys)[0] == 403, "it still has them")
