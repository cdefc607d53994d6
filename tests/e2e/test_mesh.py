"""The mesh of a whole gateway: real pods behind real addresses, asked by real clients, with nothing of a cloud."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from edgehub.commands.mesh_routes import route_of
from edgehub.state import StateFolder
from tests.cloudsync.process import free_ports
from tests.e2e.mesh_site import answers, becomes, get, lookup, mesh_environment, service, web
from tests.e2e.rig import Hub, until
from tests.e2e.test_pods import apply, shims_of
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.wire import topics
from twin.wire.api import ApplyMode
from twin.wire.codec import decode
from twin.wire.mesh import Alert, MeshRequest

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: plant}
spec:
  parentRefs: [{kind: Service, group: "", name: web, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /two}}]
    backendRefs: [{name: two, port: 80}]
  - backendRefs: [{name: web, port: 80}]
"""
LISTED = """
apiVersion: v1
kind: Service
metadata: {name: listed, namespace: plant}
spec: {ports: [{name: http, port: 80, appProtocol: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: listed-1, namespace: plant, labels: {kubernetes.io/service-name: listed}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
ports: [{name: http, port: LIVE}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: listed-2, namespace: plant, labels: {kubernetes.io/service-name: listed}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
ports: [{name: http, port: DEAD}]
"""
ALARM = """
apiVersion: edgetwin.dev/v1
kind: AlarmRule
metadata: {name: nobody, namespace: plant}
spec: {service: {name: empty}, metric: noEndpoint}
"""
WEB = "web.plant.svc.cluster.local"


def digest():
    """The resolver settings of this machine, by which file they are and what is in it."""
    path = Path("/etc/resolv.conf")
    return path.exists() and (path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())


BEFORE = digest()


@pytest.fixture(scope="module")
def meshed(tmp_path_factory):
    """A running gateway whose services have addresses of their own; its pods are ended with it."""
    folder = tmp_path_factory.mktemp("mesh")
    broker, dns = free_ports(2)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")},
        "EDGETWIN_STATE": str(folder / "state"),
        "EDGETWIN_BROKER_PORT": str(broker),
        "EDGETWIN_GATEWAY_NAME": "gw-test",
        "PATH": os.environ["PATH"] + ":/usr/sbin",
        **mesh_environment(dns),
    }
    hub = Hub(StateFolder(folder / "state"), environment, log=folder / "hub.log")
    hub.start()
    asyncio.run(hub.ready())
    yield hub
    if hub.running:
        hub.stop()
    for pid in shims_of(hub):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


@pytest.fixture(scope="module")
def made(meshed):
    """With one service of two pods."""
    ports = free_ports(2)
    pods = (web(meshed, name, port) for name, port in zip(("one", "two"), ports, strict=True))
    asyncio.run(apply(meshed, service(), *pods))
    return meshed


@pytest.fixture
async def two(made):
    """The same, once it answers from both."""
    await answers(made, {"one", "two"})
    return made


async def mesh_pid(hub):
    """The mesh's process, as status has it; None: it does not run."""
    async with hub.client() as client:
        children = (await client.status()).children
    return next((one.pid for one in children if one.name == "mesh" and one.running), None)


async def routes(hub):
    """What the twins of services and routes say, by name."""
    async with hub.client() as client:
        found = [route_of(body) async for body in client.list(kind="route")]
    return {one.name: one for one in found if one is not None}


async def shown(hub, name, holds):
    """Wait until the twin of a service or route is so; what it is then."""
    one = None
    async with hub.client() as client, client.watch(kind="route") as events:
        try:
            async with asyncio.timeout(30):
                async for event in events:
                    found = route_of(event.body) if event.body is not None else None
                    if found is not None and found.name == name:
                        one = found
                        if holds(one):
                            return one
        except TimeoutError:
            raise AssertionError(f"{name} is {one}\n{hub.log.read_text()[-3000:]}") from None
    raise AssertionError(name)


async def test_a_gateway_without_services_loads_nothing_of_the_mesh(meshed):
    assert await mesh_pid(meshed) is None
    maps = Path(f"/proc/{meshed.process.pid}/maps")
    assert maps.exists()
    done = await asyncio.to_thread(meshed.run, "mesh", "doctor", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["findings"][0]["code"] == "process"


async def test_a_service_is_found_by_name_and_answers_from_all_its_pods(two):
    status, found = await asyncio.to_thread(lookup, two, WEB)
    assert (status, len(found)) == ("NOERROR", 1)
    assert await asyncio.to_thread(lambda: lookup(two, WEB, tcp=True)) == (status, found)
    assert (await asyncio.to_thread(lookup, two, "nobody.plant.svc.cluster.local"))[0] == "NXDOMAIN"
    one = await shown(two, "plant/web", lambda one: all(each.holds for each in one.conditions.values()))
    assert one.address == found[0]
    assert [(each.origin, each.node) for each in one.endpoints] == [("here", "gw-test")] * 4


async def called(address) -> None:
    """Call for ever."""
    while True:
        assert (await asyncio.to_thread(get, address, 81))[0] == 200
        await asyncio.sleep(0.5)


async def test_every_command_tells_of_a_service_that_is_well(two):
    address = await answers(two, {"one", "two"})
    await shown(two, "plant/web", lambda one: one.conditions["Programmed"].holds)
    for _ in range(8):
        assert (await asyncio.to_thread(get, address, 81))[0] == 200
    async with two.client() as client:
        for _ in range(50):  # told each second
            reply = await client.mesh(MeshRequest(parts=["traffic"]))
            if any(one.name == "plant/web" and one.requests >= 8 for one in reply.traffic):
                break
            await asyncio.sleep(0.2)
    calls = asyncio.create_task(called(address))  # "lately" ends after 10 s, and each command is a process
    for words, told in (
        (("routes",), "4/4"),
        (("routes", "--endpoints"), "gw-test"),
        (("resolve", "web.plant"), address),
        (("top", "--once"), "plant/web"),
        (("graph",), "plant/web"),
        (("doctor",), "each of 1 services has an endpoint"),
    ):
        done = await asyncio.to_thread(two.run, "mesh", *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert told in done.stdout, (words, done.stdout)
    calls.cancel()
    done = await asyncio.to_thread(two.run, "mesh", "routes", "--json")
    assert [one["name"] for one in json.loads(done.stdout)["routes"]] == ["plant/web"]
    missing = await asyncio.to_thread(two.run, "mesh", "resolve", "nobody.plant", "--json")
    assert (missing.returncode, json.loads(missing.stdout)["status"]) == (1, "NXDOMAIN")


async def test_a_pod_that_is_killed_gets_no_more_requests_and_none_fails(two):
    address = await answers(two, {"one", "two"})
    mark = str(two.folder.path.parent).encode()
    ours = [pid for pid in processes() if mark in cmdline(pid) and cmdline(pid).endswith(b"\0two\0")]
    (server,) = set(ours) - set(shims_of(two))
    os.kill(server, signal.SIGKILL)
    for _ in range(40):
        assert (await asyncio.to_thread(get, address))[0] == 200


def processes():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def cmdline(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


async def test_a_mesh_that_is_killed_comes_back_with_all_that_it_had(two):
    address = await answers(two, {"one", "two"})
    pid = await mesh_pid(two)
    os.kill(pid, signal.SIGKILL)
    assert await answers(two, {"one", "two"}, within_s=10) == address
    assert await mesh_pid(two) not in (None, pid)


async def test_the_mesh_ends_with_its_hub_and_the_next_hub_has_it_again_with_the_same_address(two):
    address = await answers(two, {"one", "two"})
    pid = await mesh_pid(two)
    two.kill()
    await until(lambda: None if is_alive(pid) else True, 5)
    two.start()
    assert await answers(two, {"one", "two"}) == address


def is_alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_services_answer_after_a_start_with_a_cloud_that_swallows_everything(two):
    two.stop()
    two.environment["EDGETWIN_CLOUD_URL"] = "mqtts://192.0.2.1:8883"  # nobody answers there, ever
    two.start()
    await answers(two, {"one", "two"})


async def test_a_bad_route_is_refused_and_the_last_good_one_stays(two):
    await apply(two, service("two"), web(two, "three", free_ports(1)[0], "two"), ROUTE)
    address = await answers(two, {"one", "two"})

    def goes_to():
        return get(address, 80, "/two")[1]

    await becomes(goes_to, "three", two)
    for bad in (ROUTE.replace("value: /two", "value: two"), ROUTE.replace("port: 80}]\n  rules", "port: x}]\n  rules")):
        done = await asyncio.to_thread(lambda text=bad: two.run("apply", "-f", "-", stdin=text.encode()))
        assert done.returncode == 4, done.stdout
        assert await asyncio.to_thread(goes_to) == "three"
    lost = ROUTE.replace("name: two, port", "name: gone, port")
    await apply(two, lost)
    one = await shown(two, "plant/split", lambda one: not one.conditions["ResolvedRefs"].holds)
    assert one.conditions["ResolvedRefs"].reason == "BackendNotFound"
    assert (await asyncio.to_thread(get, address, 80, "/other"))[0] == 200
    assert (await asyncio.to_thread(two.run, "mesh", "routes")).returncode == 1
    await apply(two, ROUTE, mode=ApplyMode.DELETE)


async def test_an_endpoint_that_a_list_calls_ready_and_is_dead_costs_no_request_and_shows_as_such(two):
    live, dead = free_ports(2)
    listed = LISTED.replace("LIVE", str(live)).replace("DEAD", str(dead))
    await apply(two, listed, web(two, "five", live, "five"))
    address = await answers(two, {"five"}, "listed")
    for _ in range(30):
        assert (await asyncio.to_thread(get, address))[0] == 200
    # It is tried again in time, and found as before: the twin has said so meanwhile, whatever it says now.
    bad = {"ejected", "failing"}
    await shown(
        two, "plant/listed", lambda one: bad & {end.health for end in one.endpoints if end.place.endswith(f":{dead}")}
    )
    await apply(two, listed, mode=ApplyMode.DELETE)


async def test_an_alarm_is_told_on_mqtt_and_in_status_until_it_is_over(two):
    heard = asyncio.Queue()
    access = await two.access()
    options = MqttOptions(access.host, access.port, "listener", access.account, access.password)
    async with two.client() as client, MqttLink(options) as link:
        await link.connected(10)
        await link.subscribe(topics.ALL_ALERTS, heard.put_nowait)
        await apply(two, service("empty"), ALARM)
        async with asyncio.timeout(20):
            message = await heard.get()
        alert = decode(Alert, message.payload, what="alert")
        assert message.topic == "et/1/alert/plant/empty/nobody"
        assert (alert.rule, alert.about, alert.firing) == ("plant/nobody", "plant/empty", True)
        assert [one for one in (await client.status()).firing if "plant/nobody" in one]
        one = await shown(two, "plant/empty", lambda one: one.alerts)
        assert one.alerts == ["plant/nobody"]
        assert (await asyncio.to_thread(two.run, "mesh", "doctor")).returncode == 1
        await apply(two, ALARM, mode=ApplyMode.DELETE)
        async with asyncio.timeout(20):
            assert (await heard.get()).payload == b""
        assert not [one for one in (await client.status()).firing if "plant/nobody" in one]
    await apply(two, service("empty"), mode=ApplyMode.DELETE)


async def test_a_service_env_tells_pods_where_it_is(two):
    address = await answers(two, {"one", "two"})
    text = web(two, "teller", free_ports(1)[0], "teller")
    await apply(two, text)

    def told():
        return two.run("exec", "plant/teller", "--", "sh", "-c", "echo $WEB_SERVICE_HOST").stdout.strip()

    await becomes(told, address, two)


async def test_a_service_that_is_deleted_is_gone_from_dns_and_twins(two):
    address = await answers(two, {"one", "two"})
    done = await asyncio.to_thread(lambda: two.run("delete", "-f", "-", stdin=service().encode()))
    assert done.returncode == 0, done.stderr

    await becomes(lambda: lookup(two, WEB)[0], "NXDOMAIN", two)
    assert "plant/web" not in await routes(two)
    await becomes(lambda: refuses(address), True, two)


def refuses(address):
    """Whether nothing listens there any more; one that is just closing resets what it has not taken."""
    try:
        get(address)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


async def test_the_machines_own_resolver_settings_are_never_touched(meshed):
    assert meshed.running
    assert digest() == BEFORE
