"""Services of a cloud on two real gateways: each has a pod, and clients at either are answered by both."""

import contextlib
import json
import time

import dns.exception
import pytest

from tests.cloudsync.process import free_ports
from tests.e2e import mesh_site
from tests.e2e.test_workloads import GATEWAYS, Plant

BOTH = {"web-gw-1", "web-gw-2"}


class MeshPlant(Plant):
    """Gateways with a mesh each, which needs no rights."""

    def _hub(self, name):
        hub = super()._hub(name)
        (dns_port,) = free_ports(1)
        hub.environment |= mesh_site.mesh_environment(dns_port)
        return hub

    def documents(self, name):
        """What a gateway has on its disk, by kind."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            tables = json.loads((self.folder / name / "registry.json").read_text())["tables"]
            for row in tables.get("documents", {}).values():
                found.setdefault(row["kind"], {})[row["metadata"]["name"]] = row
        return found

    def answers(self, name, service="web", asked=12):
        """Who answers clients at one gateway."""
        hub = self.hubs[name]
        status, addresses = mesh_site.lookup(hub, f"{service}.plant.svc.cluster.local")
        if status != "NOERROR" or not addresses:
            return {status}
        return {mesh_site.get(addresses[0])[1] for _ in range(asked)}

    def becomes(self, probe, wanted, within_s=60.0):
        ends_s = time.monotonic() + within_s
        found = None
        while time.monotonic() < ends_s:
            with contextlib.suppress(OSError, ValueError, dns.exception.DNSException):
                found = probe()
                if found == wanted:
                    return
            time.sleep(0.2)
        logs = "".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
        held = {name: self.documents(name) for name in GATEWAYS}
        raise AssertionError(f"{found!r} is not {wanted!r}\n{json.dumps(held, indent=1)[:6000]}\n{logs}")


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    with MeshPlant(tmp_path_factory.mktemp("mesh")) as made:
        yield made


def test_clients_at_either_gateway_are_answered_by_pods_of_both(plant):
    pods = [
        mesh_site.web(plant.hubs[name], f"web-{name}", port, node=name)
        for name, port in zip(GATEWAYS, free_ports(2), strict=True)
    ]
    service = mesh_site.service()
    even = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": "plant", "name": "web"},
        "spec": {"host": "web", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"enabled": False}}}},
    }
    plant.apply(*pods, service, json.dumps(even))
    for name in GATEWAYS:
        plant.becomes(lambda name=name: plant.answers(name), BOTH)
    for name, other in zip(GATEWAYS, reversed(GATEWAYS), strict=True):
        documents = plant.documents(name)
        (listed,) = documents["EndpointSlice"].values()
        assert [one["nodeName"] for one in listed["endpoints"]] == [other]
        assert set(documents["DestinationRule"]) == {"web"}
    # One of the pods goes: the other gateway hears of it by the cloud.
    plant.apply(pods[0], verb="delete")
    plant.becomes(lambda: plant.answers("gw-2"), {"web-gw-2"})
    plant.apply(pods[0])
    plant.becomes(lambda: plant.answers("gw-2"), BOTH)
    # A gateway goes on with what it has when the cloud is gone, and hears of what was changed when it is back.
    plant.cloud.stop()
    assert plant.answers("gw-1") == BOTH
    plant.cloud.start()
    plant.apply(service, json.dumps(even), verb="delete")
    plant.becomes(lambda: plant.documents("gw-1").keys() & {"Service", "EndpointSlice", "DestinationRule"}, set())
