"""Networks of our own to break: up to four nodes, each a network namespace, joined by veth through a fifth.

    node 1 10.77.0.1 ─┐                         routed=True: each node has a network of its own,
    node 2 10.77.0.2 ─┼─ bridge 10.77.0.254     10.77.N.1 and fd77:N::1, with the router at .254
    node 3 10.77.0.3 ─┘  (fd77::1, ... the same)

A namespace lives as long as a descriptor of it is open, so nothing is left behind, not even after a kill -9: its
programs are told to end with this process. Nothing outside the namespaces is touched.

    with Network(3) as net:
        net.nodes[1].start(sys.executable, "-m", "http.server", "80")     # a program in node 2
        with net.nodes[0].inside():                                      # or this thread: sockets, programs, nft
            socket.create_connection((net.nodes[1].address, 80))
        net.cut(net.nodes[1])                                            # and net.join(...) again
        net.blackhole("10.77.0.3")                                       # dropped in silence; net.clear() again
"""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

import pytest

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
HOLES = "netns_holes"
ROUTER = 254
_libc = ctypes.CDLL(None, use_errno=True)


@cache
def missing() -> str:
    """Why no namespaces can be made here; empty if they can."""
    for program in ("ip", "nft", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            return f"network namespaces need the program {program}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        os.close(_new_namespace())
    except OSError as error:
        return f"no network namespace can be made: {error}"
    return ""


@cache
def has_netem() -> bool:
    """Whether this kernel can delay packets."""
    with Network(1) as net:
        return net.nodes[0].run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", ok=False) == ""


@dataclass(eq=False)
class Node:
    """One namespace; ``address`` and ``address6`` are those of its cable."""

    name: str
    fd: int
    address: str = ""
    address6: str = ""
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put this thread into the node: its sockets, programs and new threads are made there.

        Threads that were there before stay outside, those of an executor among them.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.fd)
            yield
        finally:
            _enter(home)
            os.close(home)

    def argv(self, *command: str) -> list[str]:
        """The command line that runs ``command`` in the node, for those who start it themselves."""
        place = f"--net=/proc/{os.getpid()}/fd/{self.fd}"
        return ["nsenter", place, "setpriv", "--pdeathsig", "KILL", "--", *command]

    def run(self, *command: str, stdin: str = "", ok: bool = True, timeout_s: float = 30) -> str:
        """What the command printed. With ``ok`` it must succeed, else its complaint is returned if it does not."""
        done = subprocess.run(
            self.argv(*command), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode != 0 and ok:
            msg = f"{self.name}: {' '.join(command)}: {done.stderr or done.stdout}"
            raise AssertionError(msg)
        return done.stdout if done.returncode == 0 else done.stderr or f"status {done.returncode}"

    def start(
        self,
        *command: str,
        env: dict[str, str] | None = None,
        stdout: int | None = subprocess.DEVNULL,
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """A program in the node, ended with the network."""
        child = subprocess.Popen(
            self.argv(*command),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=_end_with_parent,  # setpriv alone would come too late if this process ended at once
        )
        self.children.append(child)
        return child

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket of the node, for use from anywhere."""
        with self.inside():
            return socket.socket(family, kind)

    def sysctl(self, name: str, value: str) -> None:
        """Set what belongs to the node's network, as net.ipv4.ip_forward."""
        with self.inside():
            Path("/proc/sys", *name.split(".")).write_text(value)

    def answers(self, address: str, port: int, timeout_s: float = 20) -> None:
        """Wait until a connection from here to there can be made."""
        until = time.monotonic() + timeout_s
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        while True:
            with self.socket(family) as probe:
                probe.settimeout(0.5)
                with suppress(OSError):
                    probe.connect((address, port))
                    return
            if time.monotonic() > until:
                msg = f"nothing answers at {address} port {port} from {self.name}"
                raise AssertionError(msg)
            select.select([], [], [], 0.02)


class Network:
    """Nodes on one bridge or, ``routed``, behind one router."""

    def __init__(self, nodes: int = 3, *, routed: bool = False) -> None:
        if not 1 <= nodes <= 4:
            msg = "a network has one to four nodes"
            raise ValueError(msg)
        self.nodes: list[Node] = []
        self.router: Node
        self._count = nodes
        self._routed = routed
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if missing():
            pytest.skip(missing())
        with ExitStack() as stack:
            self.router = self._node(stack, "router")
            for number in range(1, self._count + 1):
                network = number if self._routed else 0
                node = self._node(stack, f"node{number}")
                node.address = f"10.77.{network}.{1 if self._routed else number}"
                node.address6 = f"fd77:{network}::{1 if self._routed else number}"
                self.nodes.append(node)
            self._wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.nodes.clear()

    def cut(self, node: Node) -> None:
        """Pull the cable of a node: it sees that, the others only hear nothing more of it."""
        self.router.run("ip", "link", "set", node.name, "down")

    def join(self, node: Node) -> None:
        """Plug the cable in again."""
        self.router.run("ip", "link", "set", node.name, "up")

    def blackhole(self, address: str, port: int = 0) -> None:
        """Let all that is sent to an address (to one port of it) vanish in silence, wherever it arrives."""
        family = "ip6" if ":" in address else "ip"
        ports = f"meta l4proto {{ tcp, udp }} th dport {port}" if port else ""
        for node in (*self.nodes, self.router):
            script = f"""
                add table inet {HOLES}
                add chain inet {HOLES} drops {{ type filter hook prerouting priority -400; }}
                add rule inet {HOLES} drops {family} daddr {address} {ports} drop
            """
            node.run("nft", "-f", "-", stdin=script)

    def clear(self) -> None:
        """Let everything through again."""
        for node in (*self.nodes, self.router):
            node.run("nft", "-f", "-", stdin=f"add table inet {HOLES}\ndelete table inet {HOLES}\n")

    def delay(self, node: Node, delay_ms: float) -> None:
        """Let what is sent to a node arrive later; only where the kernel has netem."""
        if not has_netem():
            pytest.skip("this kernel has no netem")
        self.router.run("tc", "qdisc", "replace", "dev", node.name, "root", "netem", "delay", f"{delay_ms}ms")

    def _node(self, stack: ExitStack, name: str) -> Node:
        node = Node(name, _new_namespace())
        stack.callback(_end, node)
        return node

    def _wire(self) -> None:
        lines = ["link set lo up"]
        if not self._routed:
            lines += ["link add lan type bridge forward_delay 0 mcast_snooping 0"]
            lines += _cable("lan", f"10.77.0.{ROUTER}/24", f"fd77:0::{ROUTER}/64")
        for number, node in enumerate(self.nodes, start=1):
            place = f"/proc/{os.getpid()}/fd/{node.fd}"
            lines += [f"link add {node.name} type veth peer name eth0 netns {place}"]
            if self._routed:
                lines += _cable(node.name, f"10.77.{number}.{ROUTER}/24", f"fd77:{number}::{ROUTER}/64")
            else:
                lines += [f"link set {node.name} master lan", f"link set {node.name} up"]
        for node in (*self.nodes, self.router):
            for name in ("all", "default"):
                node.sysctl(f"net.ipv6.conf.{name}.accept_dad", "0")  # it would take two seconds
                node.sysctl(f"net.ipv6.conf.{name}.keep_addr_on_down", "1")
        self.router.sysctl("net.ipv4.ip_forward", "1")
        self.router.sysctl("net.ipv6.conf.all.forwarding", "1")
        self.router.run("ip", "-batch", "-", stdin="\n".join(lines))
        for number, node in enumerate(self.nodes, start=1):
            network = number if self._routed else 0
            lines = ["link set lo up", *_cable("eth0", f"{node.address}/24", f"{node.address6}/64")]
            lines += [f"route add default via 10.77.{network}.{ROUTER}"]
            lines += [f"route add default via fd77:{network}::{ROUTER}"]
            node.run("ip", "-batch", "-", stdin="\n".join(lines))


def _cable(device: str, *addresses: str) -> Sequence[str]:
    return [f"link set {device} up", *(f"addr add {one} dev {device} {_nodad(one)}" for one in addresses)]


def _nodad(address: str) -> str:
    return "nodad" if ":" in address else ""


def _new_namespace() -> int:
    """A descriptor of a new namespace: made by a thread that ends at once, so that no other thread moves."""
    made: list[int | OSError] = []

    def make() -> None:
        if _libc.unshare(CLONE_NEWNET) != 0:
            made.append(OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))
            return
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _end_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(node: Node) -> None:
    for child in node.children:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
    for child in node.children:
        child.wait(10)
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
    os.close(node.fd)


needs_netns = pytest.mark.skipif(missing() != "", reason=missing() or "-")
"""For tests that need namespaces."""
