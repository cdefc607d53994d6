"""The networks that other tests break: they carry, they break where they are told, and they leave nothing behind."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.netns import Network, Node, needs_netns

pytestmark = needs_netns

ECHO = """
import socketserver, sys
class Server(socketserver.ThreadingTCPServer):
    address_family = 10 if ":" in sys.argv[1] else 2
    allow_reuse_address = True
class Say(socketserver.BaseRequestHandler):
    def handle(self):
        while got := self.request.recv(4096):
            self.request.sendall(got)
Server((sys.argv[1], 7000), Say).serve_forever()
"""


def echo(node: Node, address: str) -> None:
    node.start(sys.executable, "-c", ECHO, address)


def says(node: Node, address: str, timeout_s: float = 5) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with node.socket(family) as client:
        client.settimeout(timeout_s)
        client.connect((address, 7000))
        client.sendall(b"there?")
        return client.recv(100).decode()


@pytest.mark.parametrize("routed", [False, True])
def test_each_node_reaches_each_other_by_both_families(routed):
    with Network(3, routed=routed) as net:
        for node in net.nodes:
            for address in (node.address, node.address6):
                echo(node, address)
                node.answers(address, 7000)
        for one in net.nodes:
            for other in net.nodes:
                assert says(one, other.address) == says(one, other.address6) == "there?"


@pytest.mark.parametrize("routed", [False, True])
def test_a_cut_link_carries_nothing_until_it_is_joined(routed):
    with Network(2, routed=routed) as net:
        one, two = net.nodes
        for address in (two.address, two.address6):
            echo(two, address)
            one.answers(address, 7000)
        net.cut(two)
        for address in (two.address, two.address6):
            with pytest.raises(OSError, match=r"timed out|route|reach"):
                says(one, address, timeout_s=0.2)
        net.join(two)
        for address in (two.address, two.address6):
            one.answers(address, 7000)
            assert says(one, address) == "there?"


def test_a_blackholed_address_is_silent_and_the_others_are_not():
    with Network(2) as net:
        one, two = net.nodes
        two.run("ip", "addr", "add", "10.77.0.22/24", "dev", "eth0")
        for address in (two.address, "10.77.0.22"):
            echo(two, address)
            one.answers(address, 7000)
        net.blackhole("10.77.0.22")
        with pytest.raises(TimeoutError):
            says(one, "10.77.0.22", timeout_s=0.2)
        assert says(one, two.address) == "there?"
        net.clear()
        assert says(one, "10.77.0.22") == "there?"


def test_this_process_stays_where_it_is():
    home = Path("/proc/thread-self/ns/net").readlink()
    with Network(1) as net:
        with net.nodes[0].inside():
            assert Path("/proc/thread-self/ns/net").readlink() != home
        assert Path("/proc/thread-self/ns/net").readlink() == home


def test_programs_end_even_if_the_tester_is_killed():
    tester = """
import os, signal, sys
from tests.mesh.netns import Network
net = Network(1).__enter__()
print(net.nodes[0].start("sleep", "600").pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen(
        [sys.executable, "-c", tester],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        sleeper = os.pidfd_open(int(child.stdout.readline()))
        child.stdin.write(b"\n")
        child.stdin.close()
        child.wait(20)
    assert select.select([sleeper], [], [], 10)[0]
    os.close(sleeper)
