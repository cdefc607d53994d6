"""Carries datagrams: each client of a door has a flow of its own, a socket connected to one endpoint.

A flow that is still for FLOW_S ends. Of more than MAX_FLOWS of one door the one that is still for longest ends. A flow
whose endpoint is gone or out is replaced at its next datagram, for nobody is connected to anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from mesh.model.policies import When
from mesh.model.programme import BoundRule, Frontend
from mesh.model.services import PortKey
from mesh.planes.l4.choosing import Choosing, hash_of
from mesh.planes.l4.poller import READ, Poller
from mesh.planes.l4.rules import rule_for
from mesh.planes.listeners import plain_address
from mesh.tally import Tally
from mesh.target import Outcome, Target
from mesh.upstream import Refusal, Upstream, Upstreams

log = logging.getLogger(__name__)

FLOW_S: Final = 60.0
MAX_FLOWS: Final = 1024
SWEEP_S: Final = 5.0
_BATCH: Final = 64
_MOST_BYTES: Final = 65_535
_ROOM_BYTES: Final = 256

Client: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
Ancillary: TypeAlias = list[tuple[int, int, bytes]]


class DatagramWatcher(Protocol):
    """Is told of flows, for metrics."""

    def flow(
        self, frontend: Frontend, route: str, upstream: Upstream, target: Target, client: str
    ) -> tuple[Tally, ...]:
        """The counters of a new flow."""

    def no_flow(self, frontend: Frontend, backend: PortKey | None, why: When | Refusal) -> None:
        """A datagram was dropped."""


class _Flow:
    __slots__ = ("answered", "at_s", "client", "door", "sock", "source", "tallies", "target", "upstream")

    def __init__(
        self, door: _Door, client: Client, source: Ancillary, sock: socket.socket, upstream: Upstream, target: Target
    ) -> None:
        self.door = door
        self.client = client
        self.source = source
        """The address of ours that the client used, from which the answer has to come."""
        self.sock = sock
        self.upstream = upstream
        self.target = target
        self.at_s = 0.0
        self.answered = False
        self.tallies: tuple[Tally, ...] = ()


class _Door:
    __slots__ = ("flows", "frontend", "sock")

    def __init__(self, sock: socket.socket, frontend: Frontend) -> None:
        self.sock = sock
        self.frontend = frontend
        self.flows: OrderedDict[Client, _Flow] = OrderedDict()


class Datagrams:
    """All flows of a process: a DatagramCarrier."""

    def __init__(
        self,
        upstreams: Upstreams,
        choosing: Choosing,
        poller: Poller,
        clock: Callable[[], float],
        watcher: DatagramWatcher,
    ) -> None:
        self._upstreams = upstreams
        self._choosing = choosing
        self._poller = poller
        self._clock = clock
        self._watcher = watcher
        self._doors: dict[socket.socket, _Door] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def opened(self, sock: socket.socket, frontend: Frontend) -> None:
        """Take what arrives at this socket from now on for this frontend."""
        known = self._doors.get(sock)
        if known is not None:
            known.frontend = frontend
            return
        if not sock.getsockname()[0].strip("0.:"):
            _tell_source(sock)
        door = self._doors[sock] = _Door(sock, frontend)
        self._poller.watch(sock.fileno(), READ, lambda _: self._arrived(door))
        if self._sweeping is None:
            self._sweep_later()

    def closed(self, sock: socket.socket) -> None:
        """The socket is about to be closed; its flows end."""
        door = self._doors.pop(sock, None)
        if door is not None:
            self._poller.forget(sock.fileno())
            for flow in list(door.flows.values()):
                self._end(flow)
        if not self._doors and self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def __len__(self) -> int:
        return sum(len(door.flows) for door in self._doors.values())

    # -- from clients --------------------------------------------------------------------------------------------------

    def _arrived(self, door: _Door) -> None:
        for _ in range(_BATCH):
            try:
                datagram, source, _, client = door.sock.recvmsg(_MOST_BYTES, _ROOM_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # of an answer that did not reach its client: told once, then gone
            flow = door.flows.get(client)
            if flow is not None and not self._alive(flow):
                self._end(flow)
                flow = None
            if flow is None:
                flow = self._open(door, client, source)
                if flow is None:
                    continue
            flow.at_s = self._clock()
            door.flows.move_to_end(client)
            for tally in flow.tallies:
                tally.bytes_in += len(datagram)
            self._send(flow, datagram)

    def _send(self, flow: _Flow, datagram: bytes) -> None:
        try:
            flow.sock.send(datagram)
        except BlockingIOError:
            pass  # the kernel's queue is full: a datagram may be lost
        except ConnectionRefusedError:
            self._end(flow, Outcome.CONNECT_FAILED)
        except OSError as problem:
            log.debug("%s at %s: %s", flow.upstream.key, flow.target.endpoint.place, problem)

    def _open(self, door: _Door, client: Client, source: Ancillary) -> _Flow | None:
        frontend, address = door.frontend, plain_address(client[0])
        rule = rule_for(frontend.rules, None)
        backend = self._choosing.backend(rule.rule) if rule else None
        upstream = self._upstreams.get(backend.port) if backend else None
        if rule is None or upstream is None:
            self._watcher.no_flow(frontend, backend.port if backend else None, Refusal.NO_ENDPOINT)
            return None
        why = self._refusal(frontend, rule, upstream, address)
        target = None if why else self._target(frontend, upstream, address)
        sock = _connected(upstream, target) if target else None
        if target is None or sock is None:
            self._watcher.no_flow(frontend, upstream.key, why or Refusal.NO_ENDPOINT)
            return None
        if frontend.affinity_s:
            self._choosing.stays(upstream, address, target, frontend.affinity_s)
        upstream.began(target, self._clock())
        flow = _Flow(door, client, _answer_from(source), sock, upstream, target)
        flow.tallies = self._watcher.flow(frontend, str(rule.route or ""), upstream, target, address)
        if len(door.flows) >= MAX_FLOWS:
            self._end(next(iter(door.flows.values())))
        door.flows[client] = flow
        self._poller.watch(sock.fileno(), READ, lambda _: self._answered(flow))
        return flow

    def _refusal(self, frontend: Frontend, rule: BoundRule, upstream: Upstream, address: str) -> When | Refusal | None:
        of_service = upstream.group.policy.rate_limit
        if not self._choosing.allows(frontend.key, rule.rate_limit, address):
            return When.OVER_LIMIT
        if not self._choosing.allows(upstream.key, of_service, address):
            return When.OVER_LIMIT
        return upstream.admit(self._clock())

    def _target(self, frontend: Frontend, upstream: Upstream, address: str) -> Target | None:
        stayed = self._choosing.stayed(upstream, address) if frontend.affinity_s else None
        return stayed or upstream.pick(self._clock(), hash_of(upstream, address))

    # -- from endpoints ------------------------------------------------------------------------------------------------

    def _answered(self, flow: _Flow) -> None:
        for _ in range(_BATCH):
            try:
                datagram = flow.sock.recv(_MOST_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._end(flow, Outcome.CONNECT_FAILED)
                return
            now_s = self._clock()
            if not flow.answered:
                flow.answered = True
                flow.upstream.stood(flow.target)
                for tally in flow.tallies:
                    tally.answered(0, now_s - flow.at_s)
            flow.at_s = now_s
            for tally in flow.tallies:
                tally.bytes_out += len(datagram)
            with contextlib.suppress(OSError):  # a datagram may be lost
                flow.door.sock.sendmsg([datagram], flow.source, 0, flow.client)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _alive(self, flow: _Flow) -> bool:
        upstream, target = flow.upstream, flow.target
        if self._upstreams.get(upstream.key) is not upstream:
            return False
        if target.out and target not in upstream.in_use(self._clock()):
            return False
        return upstream.targets.get(target.endpoint.place) is target

    def _end(self, flow: _Flow, outcome: Outcome | None = None) -> None:
        if flow.door.flows.get(flow.client) is flow:
            del flow.door.flows[flow.client]
        self._poller.forget(flow.sock.fileno())
        flow.sock.close()
        for tally in flow.tallies:
            tally.active -= 1
            tally.failed += outcome is Outcome.CONNECT_FAILED
        said = outcome or (Outcome.OK if flow.answered else Outcome.ABANDONED)
        flow.upstream.ended(flow.target, said, self._clock(), 0.0)

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        still_s = self._clock() - FLOW_S
        for door in self._doors.values():
            for flow in [flow for flow in door.flows.values() if flow.at_s < still_s]:
                self._end(flow)
        self._sweep_later()


def _connected(upstream: Upstream, target: Target) -> socket.socket | None:
    endpoint = target.endpoint
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as problem:
        log.debug("%s: %s", upstream.key, problem)
        return None
    try:
        sock.connect((endpoint.address, endpoint.port))
    except OSError as problem:
        log.debug("%s at %s: %s", upstream.key, endpoint.place, problem)
        sock.close()
        return None
    return sock


def _tell_source(sock: socket.socket) -> None:
    """Have the kernel say which of our addresses each datagram was sent to."""
    if sock.family is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _answer_from(source: Ancillary) -> Ancillary:
    """What makes an answer come from there: the address, without the interface."""
    for level, kind, content in source:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return [(level, kind, content[:16] + bytes(4))]
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return [(level, kind, bytes(4) + content[8:12] + bytes(4))]
    return []


_IP_PKTINFO: Final = 8  # Python 3.11 has no name for it
