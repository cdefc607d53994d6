"""Three gateways with a mesh each, in one LAN, carrying one service by the kernel while links and endpoints fail."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.model.policies import HealthCheck, OutlierDetection, Policy
from mesh.model.services import Endpoint, Plane, Service, ServiceKey, ServicePort
from mesh.model.table import Table
from mesh.wire import write_table
from tests.mesh.netns import Network, needs_netns
from tests.mesh.nft.kit import BACKEND, PORT, until, who

pytestmark = needs_netns
ROOT = Path(__file__).parents[3]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
WEB = ServiceKey("plant", "web")
CHECKED = Policy(
    outlier=OutlierDetection(), health_check=HealthCheck(interval_ms=150, timeout_ms=150, unhealthy=2, healthy=2)
)


class Site:
    """The gateways, and where their tables are."""

    def __init__(self, net: Network, folder: Path, address: str, plane: Plane) -> None:
        self.net = net
        self.gateways = net.nodes[:3]
        self.address = address
        self.plane = plane
        self._folder = folder
        self.meshes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def six(self) -> bool:
        return ":" in self.address

    def put(self, *names: str) -> None:
        """Give all gateways the service with these endpoints."""
        endpoints = tuple(
            Endpoint(one.address6 if self.six else one.address, PORT, node=one.name)
            for one in self.gateways
            if one.name in names
        )
        service = Service(WEB, self.address, (ServicePort(80, endpoints=endpoints, node_port=30080),))
        for gateway in self.gateways:
            path = self._folder / f"{gateway.name}.json"
            fresh = path.with_suffix(".new")
            fresh.write_bytes(write_table(Table({WEB: service}, policies={WEB: CHECKED})))
            fresh.replace(path)

    def start(self, gateway) -> None:
        command = (sys.executable, "-m", "mesh", "--table", str(self._folder / f"{gateway.name}.json"))
        network = "fd00:96::/112" if self.six else "10.96.0.0/16"
        with (self._folder / f"{gateway.name}.log").open("ab") as log:
            self.meshes[gateway.name] = gateway.start(
                *command, "--plane", self.plane, "--network", network, env=ENV, stderr=log.fileno()
            )

    def seen_by(self, node, times=12) -> set[str]:
        found = set()
        for _ in range(times):
            try:
                found.add(who(node, self.address, timeout_s=0.5))
            except OSError as error:
                return {type(error).__name__}
        return found


class Load:
    """A client of each gateway: each failure is noted with what it was."""

    def __init__(self, site: Site, nodes) -> None:
        self.failed: list[str] = []
        self.done = dict.fromkeys((node.name for node in nodes), 0)
        self._stop = threading.Event()
        self._site = site
        self._threads = [threading.Thread(target=self._run, args=(node,)) for node in nodes]

    def _run(self, node) -> None:
        while not self._stop.is_set():
            try:
                who(node, self._site.address, timeout_s=3)
                self.done[node.name] += 1
            except OSError as error:
                self.failed.append(f"{node.name}: {error!r}")

    async def goes_on(self, times=20) -> None:
        before = dict(self.done)
        await until(lambda: all(self.done[name] >= before[name] + times for name in before), 30)

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for one in self._threads:
            one.join(20)


@contextmanager
def three(tmp_path, address="10.96.0.1", plane=Plane.NFTABLES):
    with Network(4) as net:
        site = Site(net, tmp_path, address, plane)
        for gateway in site.gateways:
            gateway.sysctl("net.ipv4.ip_forward", "1")
            gateway.start(sys.executable, str(BACKEND), gateway.name, str(PORT))
            # Each gateway serves a network of its own behind it; the fourth node stands in for that of the first.
        outside = net.nodes[3]
        outside.run("ip", "route", "add", "10.96.0.0/16", "via", site.gateways[0].address)
        outside.run("ip", "route", "add", "fd00:96::/112", "via", site.gateways[0].address6)
        site.gateways[0].sysctl("net.ipv6.conf.all.forwarding", "1")
        site.put("node1", "node2", "node3")
        for gateway in site.gateways:
            site.start(gateway)
        yield site, outside


@pytest.mark.parametrize("address", ["10.96.0.1", pytest.param("fd00:96::1", marks=pytest.mark.torture)])
async def test_what_is_cut_off_or_black_holed_is_left_out_everywhere_and_comes_back(tmp_path, address):
    everyone = {"node1", "node2", "node3"}
    with three(tmp_path, address) as (site, outside):
        clients = [*site.gateways, outside]
        for node in clients:
            await until(lambda node=node: site.seen_by(node) == everyone, 30)
        assert site.net.nodes[0].run("nft", "list", "tables").split()[-1] == "edgetwin_mesh"
        third = site.gateways[2]
        site.net.blackhole(third.address6 if site.six else third.address, PORT)
        for node in (site.gateways[0], site.gateways[1], outside):
            await until(lambda node=node: site.seen_by(node) == everyone - {"node3"}, 30)
        site.net.clear()
        for node in clients:
            await until(lambda node=node: site.seen_by(node) == everyone, 30)
        site.net.cut(site.gateways[1])
        for node in (site.gateways[0], third, outside):
            await until(lambda node=node: site.seen_by(node) == everyone - {"node2"}, 30)
        await until(lambda: site.seen_by(site.gateways[1]) == {"node2"}, 30)  # alone, but not without service
        site.net.join(site.gateways[1])
        for node in clients:
            await until(lambda node=node: site.seen_by(node) == everyone, 30)


async def test_meshes_that_are_restarted_or_killed_under_load_drop_nothing(tmp_path):
    with three(tmp_path) as (site, outside):
        clients = [*site.gateways, outside]
        for node in clients:
            await until(lambda node=node: site.seen_by(node) == {"node1", "node2", "node3"}, 30)
        with Load(site, clients) as load:
            for number, gateway in enumerate((site.gateways[0], site.gateways[1], site.gateways[0])):
                mesh = site.meshes[gateway.name]
                mesh.send_signal(signal.SIGKILL if number % 2 == 0 else signal.SIGTERM)
                mesh.wait(20)
                await load.goes_on()
                site.start(gateway)
                await load.goes_on()
            for number in range(6):
                site.put(*({"node1", "node2", "node3"} if number % 2 else {"node1", "node2"}))
                await load.goes_on(10)
        # An endpoint that is taken away at once takes its connections with it: those, and no others.
        assert [one for one in load.failed if "Reset" not in one] == []
        assert len(load.failed) <= 3 * len(clients)


async def test_a_table_that_somebody_deletes_is_back_within_seconds_and_is_an_alarm(tmp_path):
    with three(tmp_path) as (site, outside):
        await until(lambda: site.seen_by(outside) == {"node1", "node2", "node3"}, 30)
        first = site.gateways[0]
        first.run("nft", "delete", "table", "inet", "edgetwin_mesh")
        await until(lambda: "edgetwin_mesh" in first.run("nft", "list", "tables"), 5)
        await until(lambda: site.seen_by(outside) == {"node1", "node2", "node3"}, 5)
        said = tmp_path / "node1.log"
        text = "another program changed what the mesh had set up (the table is gone); it is put back"
        await until(lambda: f"mesh.store: {text}" in said.read_text(), 10)


async def test_a_mesh_that_carries_by_userspace_clears_what_the_kernel_was_told_before(tmp_path):
    with three(tmp_path) as (site, outside):
        first = site.gateways[0]
        await until(lambda: site.seen_by(outside) == {"node1", "node2", "node3"}, 30)
        mesh = site.meshes[first.name]
        mesh.terminate()
        mesh.wait(20)
        assert "edgetwin_mesh" in first.run("nft", "list", "tables")
        site.plane = Plane.USERSPACE
        site.start(first)
        await until(lambda: "edgetwin_mesh" not in first.run("nft", "list", "tables"), 30)
        await until(lambda: site.seen_by(outside) == {"node1", "node2", "node3"}, 30)
