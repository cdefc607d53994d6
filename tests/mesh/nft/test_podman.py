"""Pods in a podman network reach services, and are reached as endpoints; podman's own rules stay as they are."""

import pytest

from mesh.model.services import Endpoint, Origin
from tests.edgehub.pods.own_podman import IMAGE, OwnPodman, missing, own_podman
from tests.mesh.netns import needs_netns
from tests.mesh.nft.kit import WEB4, ask, at, connect, frontend, gateway, group, key, site, who

pytestmark = [needs_netns, pytest.mark.skipif(missing() != "", reason=missing() or "-")]
SUBNET = "10.85.253.0/24"
WEB = key()
SERVE = ("nc", "-ll", "-p", "7000", "-e", "sh", "-c", 'read line; echo "pod $line"')


def ask_from_pod(podman: OwnPodman, address: str) -> str:
    script = f"echo who | nc -w 5 {address} 80"
    return podman.run("run", "--rm", "--network", "mesh", IMAGE, "sh", "-c", script)


def rules_for(address: str, saved: str) -> list[str]:
    """Podman's rules without their counts and without the pod's own address."""
    return sorted(line.replace(address, "POD") for line in saved.splitlines() if line.startswith("-A"))


async def test_pods_reach_services_and_are_endpoints_of_them(tmp_path):
    with site(2) as (net, client, nodes), own_podman(tmp_path / "podman", SUBNET) as podman:
        podman.run("network", "create", "--disable-dns", "--subnet", SUBNET, "mesh")
        name = podman.run("run", "-d", "--network", "mesh", IMAGE, *SERVE).strip()
        address = podman.run("inspect", "-f", "{{.NetworkSettings.Networks.mesh.IPAddress}}", name).strip()
        pod = Endpoint(address, 7000, origin=Origin.HERE)
        net.router.answers(address, 7000)
        before = net.router.run("iptables-save")
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4, node_port=30080), group(WEB, pod))
            assert who(client, WEB4) == who(client, "10.77.1.254", 30080) == who(net.router, WEB4) == "pod"
            assert ask_from_pod(podman, WEB4) == "pod who\n"  # its neighbour on the bridge
            await here.program(group(WEB, at(nodes[0])))
            assert ask_from_pod(podman, WEB4).startswith("node2 ")
            with connect(client, WEB4) as sock:
                assert ask(sock)[0] == "node2"
            # The pod is started anew, with another address: podman changes its rules, and ours still stand.
            podman.run("restart", "--time", "0", name)
            address = podman.run("inspect", "-f", "{{.NetworkSettings.Networks.mesh.IPAddress}}", name).strip()
            net.router.answers(address, 7000)
            await here.program(group(WEB, Endpoint(address, 7000, origin=Origin.HERE)))
            assert who(client, WEB4) == "pod"
            assert here.mended == []
            assert rules_for(address, net.router.run("iptables-save")) == rules_for(pod.address, before)
            podman.run("rm", "--force", "--time", "0", name)
        podman.run("network", "rm", "--force", "mesh")
