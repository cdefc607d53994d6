"""Two gateways that reach each other through the tunnel, from documents of their cloud alone: no peers, no relay."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cloudsync.process import free_ports
from tests.e2e import mesh_site
from tests.e2e.test_mesh_cloud import MeshPlant

pytestmark = pytest.mark.timeout(300)

ESTABLISHED = "01"


class TunnelPlant(MeshPlant):
    """Gateways with a mesh and a tunnel each."""

    def _hub(self, name):
        hub = super()._hub(name)
        (port,) = free_ports(1)
        self.__dict__.setdefault("tunnels", {})[name] = port
        hub.environment["EDGETWIN_MESH_TUNNEL_LISTEN"] = f"127.0.0.1:{port}"
        return hub

    def ways(self, name):
        """Through whose tunnel a gateway reaches the endpoints of the service."""
        done = self.hubs[name].run("mesh", "routes", "--json")
        return {one.get("via", "") for each in json.loads(done.stdout)["routes"] for one in each.get("endpoints", [])}


def lines_at(port):
    """How many connections somebody has with a port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED for row in rows)


@pytest.fixture
def plant(tmp_path):
    with TunnelPlant(tmp_path) as made:
        yield made


def test_a_service_on_another_gateway_is_reached_through_its_tunnel_and_not_once_its_pod_is_gone(plant):
    pod = mesh_site.web(plant.hubs["gw-2"], "web-gw-2", free_ports(1)[0], node="gw-2")
    service = yaml.safe_load(mesh_site.service())
    service["metadata"]["annotations"] = {"edgetwin.dev/gateways": "*"}  # gw-1 has nothing of its own that uses it
    plant.apply(pod, json.dumps(service))
    plant.becomes(lambda: plant.answers("gw-1"), {"web-gw-2"})
    plant.becomes(lambda: plant.ways("gw-1"), {"gw-2"})
    assert lines_at(plant.tunnels["gw-2"]) > 0
    assert lines_at(plant.tunnels["gw-1"]) == 0
    plant.becomes(lambda: plant.ways("gw-2"), {""})  # its own pod needs none
    plant.apply(pod, verb="delete")
    plant.becomes(lambda: plant.ways("gw-1"), set())
