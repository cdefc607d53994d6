"""What users of EdgeMesh complained of, by the numbers of their issues. Here it does not happen."""

import asyncio
import time
from dataclasses import replace

import dns.asyncquery
import dns.message

from mesh.dns import DnsSettings
from mesh.model.services import Endpoint
from tests.mesh.dns.asking import PLANT, code, dig, headless, serving, upstream_settings, values, virtual
from tests.mesh.dns.upstream import saying, silence, upstream

SVC = "default.svc.cluster.local"


async def ask(server, name, kind="A"):
    place = server.places[0]
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), place.address, 8, place.port)


async def test_edgemesh_140_and_220_resolv_conf_is_left_alone_and_the_address_for_pods_is_there_before_them(tmp_path):
    resolv = tmp_path / "resolv.conf"
    async with upstream(saying("192.0.2.1")) as other:
        resolv.write_text("nameserver 127.0.0.254\n")
        before = resolv.stat()
        settings = upstream_settings(resolv_conf=resolv)
        settings = replace(settings, listen=("127.0.0.1:0", "169.254.96.16:0"))
        async with serving(settings=settings) as server:
            assert server.places[1].address == "169.254.96.16"
            for name in (f"web.{SVC}", "www.example.com", f"far.{SVC}"):
                await ask(server, name)
        after = resolv.stat()
        assert (before.st_mtime_ns, before.st_ino, before.st_size) == (after.st_mtime_ns, after.st_ino, after.st_size)
        assert other.queries == []


async def test_edgemesh_427_a_switch_of_networks_never_makes_services_fail_and_others_only_while_it_lasts(free_port):
    first, second = free_port(), free_port()
    settings = upstream_settings(f"127.0.0.1:{first}", f"127.0.0.1:{second}")
    async with serving(settings=settings) as server:
        async with upstream(saying("192.0.2.1", ttl=5), first):
            assert values(await ask(server, "www.example.com")) == ["192.0.2.1"]
        for number in range(20):  # no network at all
            assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]
            began_s = time.monotonic()
            assert code(await ask(server, f"n{number}.example.com")) == "SERVFAIL"
            assert time.monotonic() - began_s < 1
            assert values(await ask(server, "www.example.com")) == ["192.0.2.1"]
        async with upstream(saying("192.0.2.2"), second):  # the other network
            async with asyncio.timeout(5):
                while code(await ask(server, f"m{time.monotonic_ns()}.example.com")) != "NOERROR":
                    assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]


async def test_edgemesh_427_while_the_registry_is_filled_the_last_table_answers():
    async with serving(PLANT) as server:
        for number in range(200):
            server.apply([virtual(f"new{number}", f"127.96.9.{number}")])
            answer = await ask(server, f"web.{SVC}")
            assert (code(answer), values(answer)) == ("NOERROR", ["127.96.0.1"])


async def test_edgemesh_410_and_others_names_resolve_with_no_setting_at_all_short_names_too():
    settings = DnsSettings(listen=("127.0.0.1:0",), forward=False)
    async with serving(settings=settings) as server:
        assert await dig(server, "web", "+search", f"+domain={SVC}", "+short") == "127.96.0.1\n"
        assert (
            await dig(server, "web.shop", "+search", "+ndots=5", "+domain=svc.cluster.local", "+short")
            == "127.96.0.2\n"
        )


async def test_edgemesh_10_an_endpoint_outside_the_cluster_keeps_its_port():
    broker = headless("broker", Endpoint("192.168.1.9", 1883), port="mqtt")
    async with serving([broker]) as server:
        assert values(await ask(server, f"_mqtt._tcp.broker.{SVC}", "SRV")) == [f"2 1 1883 192-168-1-9.broker.{SVC}."]
        assert values(await ask(server, f"broker.{SVC}")) == ["192.168.1.9"]


async def test_edgemesh_114_a_slow_network_outside_does_not_slow_services_down():
    async with upstream(silence) as other, serving(PLANT, upstream_settings(other.place)) as server:
        outside = [asyncio.create_task(ask(server, f"n{number}.example.com")) for number in range(50)]
        began_s = time.monotonic()
        for _ in range(100):
            assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]
        assert time.monotonic() - began_s < 2
        for one in outside:
            one.cancel()
        await asyncio.gather(*outside, return_exceptions=True)
