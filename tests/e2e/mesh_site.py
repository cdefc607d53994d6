"""Services on a whole gateway: pods that answer with their names, and clients that ask by name or address."""

import asyncio
import http.client
import itertools
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.e2e.rig import Hub

T = TypeVar("T")
SERVER = """
import http.server, sys
class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Server).serve_forever()
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: plant, labels: {app: LABEL}}
spec:
  terminationGracePeriodSeconds: 1
  nodeName: NODE
  containers:
  - name: app
    image: host
    command: [PYTHON, -c, 'exec(open("SCRIPT").read())', "PORT", NAME]
    ports: [{name: http, containerPort: PORT}]
    readinessProbe: {tcpSocket: {port: PORT}, periodSeconds: 1, failureThreshold: 1}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: plant}
spec:
  selector: {app: NAME}
  ports:
  - {name: http, port: 80, targetPort: http, appProtocol: http}
  - {name: raw, port: 81, targetPort: http}
"""
_networks = itertools.count(os.getpid() * 7)


def own_network() -> str:
    """A network of loopback addresses that no other test has right now."""
    number = next(_networks) % (100 * 256)
    return f"127.{100 + number // 256}.{number % 256}.0/24"


def mesh_environment(dns_port: int) -> dict[str, str]:
    """A mesh with addresses of its own, which needs no rights."""
    network = own_network()
    return {
        "EDGETWIN_MESH_ENABLED": "auto",
        "EDGETWIN_MESH_PLANE": "userspace",
        "EDGETWIN_MESH_ADDRESSES": network,
        "EDGETWIN_MESH_DNS_LISTEN": f"127.0.0.1:{dns_port}",
        "EDGETWIN_MESH_DNS_UPSTREAMS": '["127.0.0.1:9"]',
        "EDGETWIN_PODS_STOP_WITH_HUB": "true",
    }


def web(hub: Hub, name: str, port: int, label: str = "web", node: str = "") -> str:
    """A pod that answers with its name."""
    script = hub.folder.path.parent / "server.py"
    script.write_text(SERVER)
    text = POD.replace("NAME", name).replace("LABEL", label).replace("PORT", str(port)).replace("SCRIPT", str(script))
    return text.replace("PYTHON", sys.executable).replace("  nodeName: NODE\n", f"  nodeName: {node}\n" if node else "")


def service(name: str = "web") -> str:
    return SERVICE.replace("NAME", name)


def lookup(hub: Hub, name: str, record: str = "A", *, tcp: bool = False) -> tuple[str, list[str]]:
    """What the gateway's DNS says: status and values."""
    host, _, port = hub.environment["EDGETWIN_MESH_DNS_LISTEN"].rpartition(":")
    send = dns.query.tcp if tcp else dns.query.udp
    reply = send(dns.message.make_query(name, record), host, port=int(port), timeout=2)
    return dns.rcode.to_text(reply.rcode()), [item.to_text() for rrset in reply.answer for item in rrset]


def get(address: str, port: int = 80, path: str = "/", host: str = "web", timeout_s: float = 5.0) -> tuple[int, str]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


async def becomes(probe: Callable[[], T], wanted: T, hub: Hub, within_s: float = 15.0) -> None:
    """Wait until a probe, which may block, gives what is wanted; what else could wait has no way to tell us."""
    ends_s = asyncio.get_running_loop().time() + within_s
    while (found := await asyncio.to_thread(probe)) != wanted:
        if asyncio.get_running_loop().time() > ends_s:
            raise AssertionError(f"it is {found!r}, not {wanted!r}\n{hub.log.read_text()[-3000:]}")
        await asyncio.sleep(0.1)


async def answers(hub: Hub, wanted: set[str], name: str = "web", within_s: float = 30.0) -> str:
    """Wait until a service answers from all of these pods and no others; its address."""
    ends_s = asyncio.get_running_loop().time() + within_s
    seen: list[object] = []
    while True:
        try:
            status, found = await asyncio.to_thread(lookup, hub, f"{name}.plant.svc.cluster.local")
            seen = [status, found]
            if found:
                got = [await asyncio.to_thread(get, found[0]) for _ in range(6)]
                seen = [status, found, got]
                if {body for code, body in got if code == 200} == wanted and all(code == 200 for code, _ in got):
                    return found[0]
        except (OSError, http.client.HTTPException, dns.exception.DNSException) as error:
            seen = [repr(error)]
        if asyncio.get_running_loop().time() > ends_s:
            raise AssertionError(f"{name} does not answer from {wanted}: {seen}\n{hub.log.read_text()[-3000:]}")
        await asyncio.sleep(0.1)
