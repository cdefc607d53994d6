"""What is looked at before the kernel carries anything, and what is left when all of ours is taken away."""

from ipaddress import ip_network

import pytest

from mesh.anyip import add_route, our_routes, overlaps, remove_route
from mesh.planes.nft import check, flush
from tests.mesh.netns import Network, needs_netns
from tests.mesh.nft.kit import NETWORKS, WEB4, at, frontend, gateway, group, key, site, who

pytestmark = needs_netns


def ill():
    return {one.name: one for one in check(NETWORKS) if not one.well}


async def test_a_gateway_that_carries_is_found_well():
    with site(2) as (net, client, nodes):
        net.router.sysctl("net.netfilter.nf_conntrack_acct", "1")
        async with gateway() as here:
            await here.program(frontend(key(), WEB4), group(key(), at(nodes[0])))
            assert ill() == {}
            found = {one.name: one.says for one in check(NETWORKS)}
            assert found["table inet edgetwin_mesh"] == "is whole, with 1 service ports"
            assert found["node ports (fib)"] == "the kernel has it"
            # Looking put nothing in force.
            assert net.router.run("nft", "list", "tables").split() == ["table", "inet", "edgetwin_mesh"]
            assert who(client, WEB4) == "node2"


def test_what_is_missing_is_named_with_what_to_do():
    with Network(1) as net, net.nodes[0].inside():
        net.nodes[0].sysctl("net.ipv4.ip_forward", "0")
        net.nodes[0].sysctl("net.netfilter.nf_conntrack_acct", "0")
        found = ill()
        assert found["route to 10.96.0.0/16"].remedy.endswith("ip route add local 10.96.0.0/16 dev lo")
        assert found["forwarding of IPv4"].remedy == "sysctl -w net.ipv4.ip_forward=1"
        assert not found["counting of bytes"].needed
        net.nodes[0].run("ip", "addr", "add", "10.96.7.1/24", "dev", "eth0")
        assert "10.96.7.1/32" in ill()["route to 10.96.0.0/16"].says


async def test_a_table_that_is_not_whole_is_found():
    with site(2) as (net, _, nodes):
        async with gateway() as here:
            await here.program(frontend(key(), WEB4), group(key(), at(nodes[0])))
        net.router.run("nft", "flush", "chain", "inet", "edgetwin_mesh", "postrouting")
        assert "postrouting" in ill()["table inet edgetwin_mesh"].says


async def test_flush_takes_away_all_that_is_ours_and_nothing_else():
    with site(2) as (net, _, nodes):
        net.router.run("nft", "add", "table", "inet", "theirs")
        net.router.run("ip", "route", "add", "local", "10.97.0.0/16", "dev", "lo")
        async with gateway() as here:
            await here.program(frontend(key(), WEB4), group(key(), at(nodes[0])))
        assert flush() == [
            "table inet edgetwin_mesh",
            "route local 10.96.0.0/16 dev lo",
            "route local fd00:96::/112 dev lo",
        ]
        assert flush() == []
        assert net.router.run("nft", "list", "ruleset").split() == ["table", "inet", "theirs", "{", "}"]
        assert "10.97.0.0/16" in net.router.run("ip", "route", "show", "table", "local")
        assert our_routes() == []


@pytest.mark.parametrize("network", NETWORKS)
def test_a_route_is_made_once_and_only_ours_is_removed(network):
    with Network(1) as net, net.nodes[0].inside():
        assert add_route(network)
        assert not add_route(network)
        assert our_routes() == [network]
        assert overlaps(network) == []
        assert remove_route(network)
        assert not remove_route(network)
        net.nodes[0].run("ip", "route", "add", "local", str(network), "dev", "lo")
        assert not add_route(network)  # somebody has made it already
        assert not remove_route(network)
        assert overlaps(ip_network("10.0.0.0/8")) != []
