"""The connections that the kernel tracks: those of an endpoint that is gone are cut, and what each carried is read.

An entry is chosen when its connection begins and then stays, whatever the rules say. Without its entry the next packet
of a connection that is cut is nobody's, and its sender is told so (a reset) instead of waiting for time-outs.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from mesh.model.services import Transport
from mesh.netlink import NETFILTER, Ask, Netlink, attribute, attributes, nested
from mesh.planes.nft.shares import Member

_CONNTRACK: Final = 1 << 8
_GET: Final = _CONNTRACK | 1
_DELETE: Final = _CONNTRACK | 2
_HEAD: Final = struct.Struct("=BBH")
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_NATIVE: Final = struct.Struct("=I")

# Numbers of attributes, as in linux/netfilter/nfnetlink_conntrack.h.
_ORIGINAL, _REPLY, _STATUS, _COUNTED_THERE, _COUNTED_BACK, _ID, _FILTER, _STATUS_MASK = 1, 2, 3, 9, 10, 12, 25, 26
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE: Final = {4: 1, 6: 3}
_DESTINATION: Final = {4: 2, 6: 4}
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_REPLY: Final = 2
_BY_SOURCE, _BY_NUMBER, _BY_SOURCE_PORT = 1 << 0, 1 << 3, 1 << 4
_PACKETS, _BYTES = 1, 2
_PROTO_STATE, _TCP, _TCP_STATE = 4, 1, 1
_OVER: Final = frozenset({b"\x07", b"\x08"})
"""TIME_WAIT and CLOSE of TCP: only the memory of a connection, of which a busy service leaves thousands."""
_DNAT: Final = 1 << 5
_PROTO: Final = {Transport.TCP: 6, Transport.UDP: 17}
_TRANSPORT: Final = {number: transport for transport, number in _PROTO.items()}
_ACCOUNTING: Final = Path("/proc/sys/net/netfilter/nf_conntrack_acct")
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection that was sent elsewhere than to where its client thought; counted in both directions."""

    transport: Transport
    address: str
    port: int
    """Where the client thinks it goes."""
    to: str
    """The place where it goes."""
    packets: int
    bytes_in: int
    """From the client to the endpoint."""
    bytes_out: int
    id: int
    version: int
    original: bytes
    """How the kernel names it."""


def counts_bytes() -> bool:
    """Whether the kernel counts what each connection carries, in this thread's network namespace."""
    try:
        return _ACCOUNTING.read_text().strip() == "1"
    except OSError:
        return False


class Conntrack:
    """Asks and tells nf_conntrack. Bound to the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        """Give the socket back."""
        self._netlink.close()

    def flows(self, version: int) -> Iterator[Flow]:
        """All connections with another destination than they had, of one version of IP."""
        return self._translated(version)

    def cut(self, transport: Transport, to: Member, is_ours: Callable[[Flow], bool]) -> int:
        """End the connections that go to an endpoint, as far as they are ours; how many those were."""
        asked = self._flows(to.version, _sent_back_by(transport, to), live=True)
        # Older kernels do not know the filter and name all.
        return self._end(one for one in asked if one.transport is transport and one.to == to.place and is_ours(one))

    def cut_all(self, is_dead: Callable[[Flow], bool]) -> int:
        """End the connections of which this is said; how many those were."""
        return sum(self._end(one for one in self._translated(version, live=True) if is_dead(one)) for version in (4, 6))

    def _translated(self, version: int, *, live: bool = False) -> Iterator[Flow]:
        status = attribute(_STATUS, _U32.pack(_DNAT)) + attribute(_STATUS_MASK, _U32.pack(_DNAT))
        return self._flows(version, status, live=live)

    def _flows(self, version: int, asked: bytes, *, live: bool = False) -> Iterator[Flow]:
        for body in self._netlink.dump(Ask(_GET, _HEAD.pack(_FAMILY[version], 0, 0) + asked)):
            said = attributes(body, _HEAD.size)
            if not (live and _is_over(said)) and (flow := _flow(said, version)):
                yield flow

    def _end(self, flows: Iterable[Flow]) -> int:
        # All are read before one is deleted, for the socket has one conversation at a time.
        return sum(self._delete(flow) for flow in list(flows))

    def _delete(self, flow: Flow) -> bool:
        named = nested(_ORIGINAL, flow.original) + attribute(_ID, _U32.pack(flow.id))
        try:
            self._netlink.tell(Ask(_DELETE, _HEAD.pack(_FAMILY[flow.version], 0, 0) + named))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False  # it has ended by itself
            raise
        return True


def _sent_back_by(transport: Transport, to: Member) -> bytes:
    """The kernel's filter for connections whose answers come from an endpoint."""
    source = attribute(_SOURCE[to.version], ip_address(to.address).packed)
    proto = attribute(_NUMBER, bytes([_PROTO[transport]])) + attribute(_SOURCE_PORT, _U16.pack(to.port))
    # Of IPv6 addresses some kernels name those that differ (ctnetlink_filter_match_tuple): their ports have to do.
    by = _NATIVE.pack(_BY_NUMBER | _BY_SOURCE_PORT | (_BY_SOURCE if to.version == 4 else 0))
    return nested(_REPLY, nested(_TUPLE_IP, source), nested(_TUPLE_PROTO, proto)) + nested(
        _FILTER, attribute(_FILTER_REPLY, by)
    )


def _is_over(said: Mapping[int, bytes]) -> bool:
    if _PROTO_STATE not in said:
        return False
    return attributes(attributes(said[_PROTO_STATE]).get(_TCP, b"")).get(_TCP_STATE) in _OVER


def _flow(found: Mapping[int, bytes], version: int) -> Flow | None:
    if not _U32.unpack(found.get(_STATUS, bytes(4)))[0] & _DNAT:
        return None
    original = attributes(found[_ORIGINAL])
    back = attributes(found[_REPLY])
    proto = attributes(original[_TUPLE_PROTO])
    transport = _TRANSPORT.get(proto[_NUMBER][0])
    destination = attributes(original[_TUPLE_IP]).get(_DESTINATION[version])
    source = attributes(back[_TUPLE_IP]).get(_SOURCE[version])
    if transport is None or destination is None or source is None:
        return None
    there = attributes(found.get(_COUNTED_THERE, b""))
    here = attributes(found.get(_COUNTED_BACK, b""))
    return Flow(
        transport,
        str(ip_address(destination)),
        _U16.unpack(proto[_DESTINATION_PORT])[0],
        Member(str(ip_address(source)), _U16.unpack(attributes(back[_TUPLE_PROTO])[_SOURCE_PORT])[0]).place,
        _number(there, _PACKETS) + _number(here, _PACKETS),
        _number(there, _BYTES),
        _number(here, _BYTES),
        _U32.unpack(found.get(_ID, bytes(4)))[0],
        version,
        found[_ORIGINAL],
    )


def _number(counter: Mapping[int, bytes], which: int) -> int:
    return int(_U64.unpack(counter[which])[0]) if which in counter else 0
